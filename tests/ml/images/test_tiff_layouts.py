"""TIFF in every layout: each file is read as it was written, or refused by name. Never noise.

The files are written and read back by tifffile, with imagecodecs, which know nothing of Pillow's decoder: what counts
as right is the samples that this second decoder finds, made visible by the few lines of `shown`.
"""

import io
import itertools
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
import tifffile
from PIL import Image

from ml import images
from ml.images import UnreadableImage

WIDTH, HEIGHT = 48, 33
TYPES = {"u": (np.uint8, np.uint16, np.uint32), "i": (np.int8, np.int16, np.int32)}
FLOATS = {16: np.float16, 32: np.float32, 64: np.float64}
CHANNELS = {"minisblack": 1, "miniswhite": 1, "palette": 1, "rgb": 3, "separated": 4, "cielab": 3}
LOSSY = ("jpeg", "webp", "jpeg2000", "jpegxl")


@dataclass(frozen=True)
class Layout:
    """How samples are stored."""

    colours: str
    bits: int
    kind: str = "u"
    compression: str | None = None
    order: str = "<"
    planes: str = "contig"
    alpha: str | None = None
    predictor: bool = False
    tiles: bool = False

    @property
    def white(self) -> float:
        return 1.0 if self.kind == "f" else 2.0 ** (self.bits - (self.kind == "i")) - 1


def scene() -> np.ndarray:
    """float64 [HEIGHT, WIDTH, 3] in 0..1: smooth, coloured, and different in every corner. Both ends occur."""
    y, x = np.mgrid[0 : 1 : HEIGHT * 1j, 0 : 1 : WIDTH * 1j]
    return np.dstack([x, y, (1 - x) * (0.5 + 0.5 * np.sin(6 * y))])


ALPHA = np.tile(np.linspace(0, 1, WIDTH), (HEIGHT, 1))


def stored(layout: Layout) -> np.ndarray:
    """The samples of the scene, channels last."""
    colour = scene()
    gray = colour.mean(axis=2, keepdims=True)
    values = {"minisblack": gray, "miniswhite": 1 - gray, "palette": gray, "rgb": colour, "cielab": colour}.get(
        layout.colours, np.concatenate([1 - colour, np.zeros_like(gray)], axis=2)
    )
    if layout.alpha:
        if layout.alpha == "assocalpha":
            values = values * ALPHA[..., None]
        values = np.concatenate([values, ALPHA[..., None]], axis=2)
    if layout.kind == "f":
        return values.astype(FLOATS[layout.bits])
    size = 0 if layout.bits <= 8 else 1 if layout.bits <= 16 else 2
    return np.round(values * layout.white).astype(TYPES[layout.kind][size])


def written(layout: Layout, samples: np.ndarray) -> bytes:
    """A file. Raises what tifffile and its codecs raise for what they cannot write."""
    options = {}
    if layout.alpha:
        options["extrasamples"] = [layout.alpha]
    if layout.kind == "u" and layout.bits not in (8, 16, 32):
        options["bitspersample"] = layout.bits
    if layout.colours == "palette":
        options["colormap"] = np.tile(np.linspace(0, 65535, 2**layout.bits).astype(np.uint16), (3, 1))
    if samples.shape[2] > 1:
        options["planarconfig"] = layout.planes
    samples = samples[..., 0] if samples.shape[2] == 1 else samples
    samples = np.moveaxis(samples, 2, 0) if samples.ndim == 3 and layout.planes == "separate" else samples
    if layout.compression == "jpeg":
        options["compressionargs"] = {"level": 97}
    stream = io.BytesIO()
    tifffile.imwrite(
        stream,
        samples,
        photometric=layout.colours,
        byteorder=layout.order,
        compression=layout.compression,
        predictor=layout.predictor,
        tile=(16, 16) if layout.tiles else None,
        metadata=None,
        **options,
    )
    return stream.getvalue()


def read_back(layout: Layout, data: bytes) -> np.ndarray:
    """The samples that the second decoder finds, channels last."""
    samples = tifffile.imread(io.BytesIO(data))
    if samples.ndim == 2:
        return samples[..., None]
    return np.moveaxis(samples, 0, 2) if layout.planes == "separate" and samples.shape[-1] == WIDTH else samples


def shown(layout: Layout, samples: np.ndarray) -> np.ndarray:
    """What a person should see: float64 [HEIGHT, WIDTH, 3] in 0..255, transparent parts over white."""
    values = samples.astype(np.float64) / layout.white
    colour, alpha = values, np.ones_like(ALPHA[..., None])
    if layout.alpha:
        colour, alpha = values[..., :-1], values[..., -1:]
        if layout.alpha == "unspecified":
            alpha = np.ones_like(alpha)
        elif layout.alpha == "assocalpha":
            colour = np.divide(colour, alpha, out=np.zeros_like(colour), where=alpha > 0)
    if layout.colours == "miniswhite":
        colour = 1 - colour
    elif layout.colours == "separated":
        colour = (1 - colour[..., :3]) * (1 - colour[..., 3:])
    if layout.kind in "if" or layout.bits == 32:  # no end of the scale is known: darkest to brightest
        low, high = colour.min(), colour.max()
        stretched = (colour - low) / (high - low)
        colour = colour if layout.kind == "f" or layout.bits == 16 else stretched
    return 255 * np.broadcast_to(colour * alpha + 1 - alpha, (HEIGHT, WIDTH, 3))


def layouts() -> list[Layout]:
    found = []
    depths = [*[("u", bits) for bits in (1, 2, 4, 8, 10, 12, 14, 16, 24, 32)], *[("i", bits) for bits in (8, 16, 32)]]
    depths += [("f", bits) for bits in (16, 32, 64)]
    compressions = (
        None,
        "lzw",
        "zlib",
        "adobe_deflate",
        "packbits",
        "zstd",
        "lzma",
        "jpeg",
        "webp",
        "jpeg2000",
        "lerc",
    )
    for (kind, bits), colours, planes, alpha in itertools.product(
        depths, CHANNELS, ("contig", "separate"), (None, "unassalpha", "assocalpha", "unspecified")
    ):
        if planes == "separate" and CHANNELS[colours] == 1 and not alpha:
            continue
        if colours in ("palette", "cielab") and (alpha or kind != "u" or bits > 16):
            continue
        for compression, order, predictor, tiles in itertools.product(compressions, "<>", (False, True), (False, True)):
            if predictor and compression not in ("lzw", "adobe_deflate"):
                continue
            is_rare = kind != "u" or bits not in (8, 16) or alpha == "unspecified"
            if is_rare and compression not in (None, "lzw", "jpeg" if kind == "u" else None):
                continue
            if tiles and compression not in (None, "lzw", "jpeg"):
                continue
            found.append(Layout(colours, bits, kind, compression, order, planes, alpha, predictor, tiles))
    return found


def verdict(layout: Layout) -> str:
    """right, refused or unwritten; fails for anything else."""
    samples = stored(layout)
    try:
        data = written(layout, samples)
        found = read_back(layout, data)
    except (ValueError, KeyError, RuntimeError, TypeError):
        return "unwritten"
    if layout.bits in (10, 12, 14, 24) and not np.array_equal(found, samples):
        return "unwritten"  # the other decoder does not read back what it packs with the high byte first
    if layout.compression not in LOSSY:
        np.testing.assert_array_equal(found, samples)
    try:
        image = images.decode(data)
    except UnreadableImage as error:
        assert "which is not supported" in error.message, (layout, error.message)
        with pytest.raises(UnreadableImage):  # the header says as much: nobody stores it first
            images.probe(data)
        return "refused"
    info = images.probe(data)
    assert (info.width, info.height) == image.size == (WIDTH, HEIGHT)
    difference = np.abs(np.asarray(image) - shown(layout, found)).mean()
    assert difference < (6 if layout.compression in LOSSY else 1.5), (layout, difference)
    return "right"


@pytest.mark.parametrize("colours", sorted(CHANNELS))
def test_every_layout_is_read_rightly_or_refused_by_name(colours):
    counts = Counter(verdict(layout) for layout in layouts() if layout.colours == colours)
    assert counts["refused"] > 5
    assert counts["right"] > 5 or colours == "cielab", counts


@pytest.mark.parametrize("colours", ["minisblack", "rgb"])
@pytest.mark.parametrize("compression", [None, "lzw", "jpeg"])
@pytest.mark.parametrize("order", "<>")
def test_the_layouts_of_every_day_are_read(colours, compression, order):
    for bits in (8,) if compression == "jpeg" else (8, 16):
        for tiles in (False, True):
            assert verdict(Layout(colours, bits, compression=compression, order=order, tiles=tiles)) == "right"


@pytest.mark.parametrize("depth", [8, 10, 12, 14])
@pytest.mark.parametrize("order", "<>")
def test_fewer_bits_in_16_are_as_bright_as_16(depth, order):
    levels = np.linspace(0, 2**depth - 1, 256).astype(np.uint16)[None].repeat(20, 0)
    data = io.BytesIO()
    tifffile.imwrite(data, levels, byteorder=order, photometric="minisblack")
    values = np.asarray(images.decode(data.getvalue()))[0, :, 0]
    assert np.abs(values.astype(int) - np.arange(256)).max() <= 1


def test_a_thumbnail_before_the_image_is_not_the_image():
    photo = np.round(scene() * 255).astype(np.uint8)
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as file:
        file.write(255 - photo[::4, ::4], photometric="rgb", subfiletype=1)
        file.write(photo, photometric="rgb", subfiletype=0)
    image = images.decode(stream.getvalue())
    assert images.probe(stream.getvalue()).width == WIDTH
    np.testing.assert_array_equal(np.asarray(image), photo)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_tag_is_followed(orientation):
    photo = Image.fromarray(np.round(scene() * 255).astype(np.uint8))
    as_stored = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    turned = photo if orientation == 1 else photo.transpose(Image.Transpose(as_stored[orientation]))
    stream = io.BytesIO()
    tifffile.imwrite(
        stream, np.asarray(turned), photometric="rgb", extratags=[(274, 3, 1, orientation, True)], compression="lzw"
    )
    info = images.probe(stream.getvalue())
    assert (info.width, info.height) == (WIDTH, HEIGHT)
    np.testing.assert_array_equal(np.asarray(images.decode(stream.getvalue())), np.asarray(photo))


def test_a_tag_for_every_byte_costs_nothing():
    """A directory whose tags all claim the whole file: 4,000 times 8 MB."""
    rest = bytes(8 * 2**20)
    tags = [
        struct_tag(256, 4, 1, 10),
        struct_tag(257, 4, 1, 10),
        *(struct_tag(n, 1, len(rest), 8) for n in range(4000)),
    ]
    data = b"II*\x00" + (8).to_bytes(4, "little") + len(tags).to_bytes(2, "little") + b"".join(tags) + bytes(4) + rest
    with pytest.raises(UnreadableImage):
        images.probe(data)


def test_offsets_of_64_bits_are_read():
    photo = np.round(scene() * 255).astype(np.uint8)
    stream = io.BytesIO()
    tifffile.imwrite(stream, photo, photometric="rgb", bigtiff=True, byteorder="<")
    np.testing.assert_array_equal(np.asarray(images.decode(stream.getvalue())), photo)
    stream = io.BytesIO()
    tifffile.imwrite(stream, photo, photometric="rgb", bigtiff=True, byteorder=">")
    with pytest.raises(UnreadableImage, match="a BigTIFF with the high byte first, which is not supported"):
        images.decode(stream.getvalue())


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt", "packbits", "tiff_lzw"])
def test_faxes_are_read(compression):
    page = Image.fromarray((scene()[..., 0] > 0.4).astype(np.uint8) * 255).convert("1", dither=Image.Dither.NONE)
    stream = io.BytesIO()
    page.save(stream, "TIFF", compression=compression)
    np.testing.assert_array_equal(np.asarray(images.decode(stream.getvalue()))[..., 0], np.asarray(page.convert("L")))


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 1), (2, 2)])
def test_jpeg_in_tiff_with_reduced_colours_is_read(subsampling):
    photo = np.round(scene() * 255).astype(np.uint8)
    stream = io.BytesIO()
    options = {"compression": "jpeg", "compressionargs": {"level": 95}, "subsampling": subsampling, "tile": (32, 32)}
    tifffile.imwrite(stream, photo, photometric="rgb", **options)
    assert np.abs(np.asarray(images.decode(stream.getvalue())).astype(int) - photo).mean() < 6


def struct_tag(code: int, type: int, count: int, value: int) -> bytes:
    return b"".join(number.to_bytes(size, "little") for number, size in ((code, 2), (type, 2), (count, 4), (value, 4)))


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "lzw", "zlib"])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_colours_of_cameras_in_16_bits_are_as_bright_as_they_were(bits, order, compression, alpha, planes):
    samples = np.round(scene() * (2**bits - 1)).astype(np.uint16)
    if alpha:
        samples = np.dstack([samples, np.full((HEIGHT, WIDTH), 2**bits - 1, np.uint16)])
    if planes == "separate":
        samples = np.moveaxis(samples, 2, 0)
    stream = io.BytesIO()
    extra = {"extrasamples": ["unassalpha"]} if alpha else {}
    tifffile.imwrite(
        stream, samples, photometric="rgb", byteorder=order, compression=compression, planarconfig=planes, **extra
    )
    try:
        image = images.decode(stream.getvalue())
    except UnreadableImage as error:
        assert planes == "separate" and "in separate planes" in error.message
        assert bits < 16 or compression is None
        return
    assert np.abs(np.asarray(image) - 255 * scene()).max() <= 1.5
