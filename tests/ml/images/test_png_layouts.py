"""PNG in every layout, and healthy files that strict readers call damaged. imagecodecs (libpng) says what is right."""

import struct
import time
import zlib

import imagecodecs
import numpy as np
import pytest

from ml import images
from ml.images import UnreadableImage
from ml.images.formats import png

WIDTH, HEIGHT = 37, 23
GRAY, RGB, PALETTE, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6
CHANNELS = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGBA: 4}
LAYOUTS = [(GRAY, bits) for bits in (1, 2, 4, 8, 16)] + [(PALETTE, bits) for bits in (1, 2, 4, 8)]
LAYOUTS += [(colour, bits) for colour in (RGB, GRAY_ALPHA, RGBA) for bits in (8, 16)]
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def chunk(name: bytes, body: bytes, *, checksum: int | None = None) -> bytes:
    crc = zlib.crc32(name + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", crc)


def samples_of(colour: int, bits: int) -> np.ndarray:
    """int [HEIGHT, WIDTH, channels]: gradients that use the whole range."""
    y, x = np.mgrid[0 : 1 : HEIGHT * 1j, 0 : 1 : WIDTH * 1j]
    planes = [x, y, (x + y) / 2, 1 - x][: CHANNELS[colour]]
    return np.round(np.dstack(planes) * (2**bits - 1)).astype(np.int64)


def packed(samples: np.ndarray, bits: int) -> bytes:
    """Rows with filter 0."""
    rows = []
    for row in samples:
        if bits == 16:
            content = row.astype(">u2").tobytes()
        elif bits == 8:
            content = row.astype(np.uint8).tobytes()
        else:
            digits = (row.reshape(-1)[:, None] >> np.arange(bits - 1, -1, -1)) & 1
            content = np.packbits(digits.astype(np.uint8).reshape(-1)).tobytes()
        rows.append(b"\x00" + content)
    return b"".join(rows)


def written(
    colour: int, bits: int, *, in_use: int = 0, interlaced: bool = False, before: bytes = b"", after: bytes = b""
) -> bytes:
    samples = samples_of(colour, in_use or bits)
    if interlaced:
        passes = [samples[y::dy, x::dx] for x, y, dx, dy in ADAM7]
        raw = b"".join(packed(part, bits) for part in passes if part.size)
    else:
        raw = packed(samples, bits)
    palette = b""
    if colour == PALETTE:
        steps = np.linspace(0, 255, 2**bits).astype(np.uint8)
        palette = chunk(b"PLTE", np.dstack([steps, steps[::-1], steps]).tobytes())
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, colour, 0, 0, int(interlaced)))
    pixels = chunk(b"IDAT", zlib.compress(raw))
    return png.SIGNATURE + header + palette + before + pixels + after + chunk(b"IEND", b"")


def shown(data: bytes) -> np.ndarray:
    """What libpng reads, over white, as 8 bits of RGB."""
    values = imagecodecs.png_decode(data)
    values = values.astype(np.float64) / np.iinfo(values.dtype).max
    values = values[..., None] if values.ndim == 2 else values
    if values.shape[2] in (2, 4):
        values, alpha = values[..., :-1], values[..., -1:]
        values = values * alpha + 1 - alpha
    return 255 * np.broadcast_to(values, (HEIGHT, WIDTH, 3))


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour", "bits"), LAYOUTS)
def test_every_layout_is_read_as_libpng_reads_it(colour, bits, interlaced):
    data = written(colour, bits, interlaced=interlaced)
    assert np.abs(np.asarray(images.decode(data)) - shown(data)).max() <= 2


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("in_use", [10, 12])
@pytest.mark.parametrize("colour", [GRAY, RGB, RGBA])
def test_values_of_fewer_bits_in_16_are_as_bright_as_they_were_meant(colour, in_use, interlaced):
    image = images.decode(written(colour, 16, in_use=in_use, interlaced=interlaced))
    assert np.abs(np.asarray(image) - shown(written(colour, 16))).max() <= 2


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_transparent_gray_is_white(bits):
    samples = samples_of(GRAY, bits)[..., 0]
    key = int(samples[0, 0])
    image = np.asarray(images.decode(written(GRAY, bits, before=chunk(b"tRNS", struct.pack(">H", key)))))
    assert (image[samples == key] == 255).all()
    assert (image[samples == 2**bits - 1] == 255).all()
    if bits > 1:
        assert image.min() < 100


def test_a_transparent_colour_is_white():
    samples = samples_of(RGB, 8)
    key = samples[3, 5]
    image = np.asarray(images.decode(written(RGB, 8, before=chunk(b"tRNS", struct.pack(">HHH", *key)))))
    assert (image[3, 5] == 255).all()
    np.testing.assert_array_equal(image[3, 6], samples[3, 6])


def test_a_palette_with_transparency_lies_over_white():
    data = written(PALETTE, 4, before=chunk(b"tRNS", bytes([0, 128])))
    assert np.abs(np.asarray(images.decode(data)) - shown(data)).max() <= 2


BIG = zlib.compress(bytes(3 * 2**20))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (chunk(b"zTXt", b"Comment\x00\x00" + BIG), b""),
        (chunk(b"iTXt", b"XML:com.adobe.xmp\x00\x01\x00\x00\x00" + BIG), b""),
        (chunk(b"tEXt", b"Comment\x00" + bytes(range(1, 200)) * 9000), b""),
        (chunk(b"iCCP", b"huge\x00\x00" + BIG), b""),
        (chunk(b"iCCP", b"nonsense\x00\x00rubbish"), b""),
        (chunk(b"tEXt", b"Comment\x00hello", checksum=12345), b""),
        (chunk(b"pHYs", bytes(9), checksum=0), chunk(b"tIME", bytes(7), checksum=1)),
        (chunk(b"tIME", b""), b""),
        (chunk(b"gAMA", b"", checksum=5), b""),
        (chunk(b"acTL", struct.pack(">II", 0, 0)), b""),
        (chunk(b"acTL", b""), b""),
        (b"", chunk(b"zTXt", b"Comment\x00\x00" + BIG)),
    ],
)
@pytest.mark.parametrize("colour", [RGB, GRAY])
def test_what_stands_beside_the_pixels_does_not_cost_the_image(colour, before, after):
    plain = np.asarray(images.decode(written(colour, 8)))
    data = written(colour, 8, before=before, after=after)
    images.probe(data)
    np.testing.assert_array_equal(np.asarray(images.decode(data)), plain)


@pytest.mark.parametrize("cut", [1, 12, 15, 16])
def test_a_missing_end_without_pixels_does_not_cost_the_image(cut):
    data = written(RGB, 8)
    np.testing.assert_array_equal(np.asarray(images.decode(data[:-cut])), np.asarray(images.decode(data)))


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_missing_pixels_do(share):
    data = written(RGB, 16)
    with pytest.raises(UnreadableImage, match="is truncated"):
        images.decode(data[: int(len(data) * share)])


@pytest.mark.parametrize("place", ["before", "after"])
def test_orientation_is_found_on_either_side_of_the_pixels(place):
    exif = b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
    data = written(RGB, 8, **{place: chunk(b"eXIf", exif)})
    info = images.probe(data)
    assert (info.width, info.height) == images.decode(data).size == (HEIGHT, WIDTH)


def test_gamma_is_followed_as_browsers_do():
    plain = np.asarray(images.decode(written(GRAY, 8)), int)
    linear = np.asarray(images.decode(written(GRAY, 8, before=chunk(b"gAMA", struct.pack(">I", 100_000)))), int)
    usual = np.asarray(images.decode(written(GRAY, 8, before=chunk(b"gAMA", struct.pack(">I", 45_455)))), int)
    np.testing.assert_array_equal(usual, plain)
    assert np.abs(linear - 255 * (plain / 255) ** (1 / 2.2)).max() <= 1


def test_a_million_empty_chunks_are_refused_at_once():
    data = written(RGB, 8, before=chunk(b"teSt", b"") * 1_000_000)
    began = time.process_time()
    with pytest.raises(UnreadableImage, match="more than 100,000 chunks"):
        images.probe(data)
    assert time.process_time() - began < 1  # 30 ms here


def test_apples_own_variant_is_refused_by_name():
    data = written(RGB, 8)
    with pytest.raises(UnreadableImage, match="a PNG in Apple's own variant, which is not supported"):
        images.decode(data[:8] + chunk(b"CgBI", bytes(4)) + data[8:])
