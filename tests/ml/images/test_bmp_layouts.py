"""BMP in every layout that programs write: headers of each generation, masks, palettes, run lengths, either way up."""

import struct

import numpy as np
import pytest

from ml import images
from ml.images import UnreadableImage

WIDTH, HEIGHT = 21, 14  # rows need padding at every depth
MASKS = {
    (16, "555"): (0x7C00, 0x3E0, 0x1F, 0),
    (16, "565"): (0xF800, 0x7E0, 0x1F, 0),
    (16, "444"): (0xF00, 0xF0, 0xF, 0),
    (16, "1555"): (0x7C00, 0x3E0, 0x1F, 0x8000),
    (32, "bgrx"): (0xFF0000, 0xFF00, 0xFF, 0),
    (32, "rgbx"): (0xFF, 0xFF00, 0xFF0000, 0),
    (32, "xbgr"): (0xFF000000, 0xFF0000, 0xFF00, 0),
    (32, "bgra"): (0xFF0000, 0xFF00, 0xFF, 0xFF000000),
    (32, "rgba"): (0xFF, 0xFF00, 0xFF0000, 0xFF000000),
    (32, "10 bits"): (0x3FF00000, 0xFFC00, 0x3FF, 0),
}


def scene() -> np.ndarray:
    """uint8 [HEIGHT, WIDTH, 3]."""
    y, x = np.mgrid[0 : 1 : HEIGHT * 1j, 0 : 1 : WIDTH * 1j]
    return np.round(255 * np.dstack([x, y, 1 - x])).astype(np.uint8)


def rows(pixels: list[bytes], top_down: bool) -> bytes:
    padded = [row + bytes(-len(row) % 4) for row in pixels]
    return b"".join(padded if top_down else padded[::-1])


def file(
    bits: int,
    content: bytes,
    *,
    header: int = 40,
    compression: int = 0,
    masks: tuple[int, ...] = (),
    palette=b"",
    top_down=False,
) -> bytes:
    if header == 12:
        info = struct.pack("<IHHHH", 12, WIDTH, HEIGHT, 1, bits)
    else:
        height = -HEIGHT if top_down else HEIGHT
        info = struct.pack("<IiiHHIIiiII", header, WIDTH, height, 1, bits, compression, len(content), 0, 0, 0, 0)
        if header == 40:
            info += struct.pack("<3I", *masks[:3]) if masks else b""
        else:
            info += struct.pack("<4I", *(masks or (0, 0, 0, 0))) + bytes(header)
            info = info[:header]
    start = 14 + len(info) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(content), 0, 0, start) + info + palette + content


def masked(bits: int, masks: tuple[int, ...], alpha: np.ndarray | None = None) -> bytes:
    values = np.zeros((HEIGHT, WIDTH), np.uint64)
    planes = [*np.moveaxis(scene(), 2, 0), np.full((HEIGHT, WIDTH), 255) if alpha is None else alpha]
    for plane, mask in zip(planes, masks, strict=True):
        if mask:
            shift = (mask & -mask).bit_length() - 1
            values |= np.round(plane / 255 * (mask >> shift)).astype(np.uint64) << np.uint64(shift)
    return values.astype(f"<u{bits // 8}")


@pytest.mark.parametrize("top_down", [False, True])
@pytest.mark.parametrize("header", [40, 56, 108, 124])
@pytest.mark.parametrize(("bits", "name"), MASKS)
def test_every_mask_is_followed(bits, name, header, top_down):
    masks = MASKS[bits, name]
    if header == 40 and masks[3]:
        pytest.skip("the oldest header has no mask for alpha")
    content = rows([row.tobytes() for row in masked(bits, masks)], top_down)
    data = file(bits, content, header=header, compression=3, masks=masks, top_down=top_down)
    fewest = min(bin(mask).count("1") for mask in masks[:3])
    for each in (data, data[14:]):  # with the file's header, and without
        difference = np.abs(np.asarray(images.decode(each)).astype(int) - scene())
        assert difference.max() <= 255 / (2**fewest - 1) / 2 + 1


@pytest.mark.parametrize("header", [56, 108, 124])
def test_alpha_that_is_0_everywhere_means_nothing(header):
    masks = MASKS[32, "bgra"]
    content = rows([row.tobytes() for row in masked(32, masks, np.zeros((HEIGHT, WIDTH)))], False)
    image = images.decode(file(32, content, header=header, compression=3, masks=masks))
    np.testing.assert_array_equal(np.asarray(image), scene())


def test_alpha_that_varies_is_seen_over_white():
    masks = MASKS[32, "bgra"]
    alpha = np.tile(np.linspace(0, 255, WIDTH).round(), (HEIGHT, 1))
    content = rows([row.tobytes() for row in masked(32, masks, alpha)], False)
    image = np.asarray(images.decode(file(32, content, header=124, compression=3, masks=masks)))
    share = alpha[..., None] / 255
    assert np.abs(image - (scene() * share + 255 * (1 - share))).max() <= 2


@pytest.mark.parametrize("header", [12, 40, 108])
@pytest.mark.parametrize("bits", [24, 32])
def test_plain_colours_are_read(bits, header):
    if header == 12 and bits == 32:
        pytest.skip("the first header knew no 32 bits")
    bgr = scene()[..., ::-1]
    bgr = bgr if bits == 24 else np.dstack([bgr, np.zeros((HEIGHT, WIDTH), np.uint8)])  # the fourth byte is unused
    data = file(bits, rows([row.tobytes() for row in bgr], False), header=header)
    np.testing.assert_array_equal(np.asarray(images.decode(data)), scene())


def test_16_bits_without_masks_are_555():
    content = rows([row.tobytes() for row in masked(16, MASKS[16, "555"])], False)
    difference = np.abs(np.asarray(images.decode(file(16, content))).astype(int) - scene())
    assert difference.max() <= 9


@pytest.mark.parametrize("header", [12, 40, 124])
@pytest.mark.parametrize("bits", [1, 4, 8])
def test_palettes_are_read(bits, header):
    levels = np.round(scene()[..., 0] / 255 * (2**bits - 1)).astype(np.uint8)
    colours = np.linspace(0, 255, 2**bits).astype(np.uint8)
    entry = [colours, colours[::-1], colours] + ([] if header == 12 else [np.zeros_like(colours)])
    digits = (levels[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    packed = np.packbits(digits.reshape(HEIGHT, -1), axis=1)
    data = file(bits, rows([row.tobytes() for row in packed], False), header=header, palette=np.dstack(entry).tobytes())
    expected = np.dstack([colours[levels], colours[::-1][levels], colours[levels]])
    np.testing.assert_array_equal(np.asarray(images.decode(data)), expected)


@pytest.mark.parametrize(("bits", "compression"), [(8, 1), (4, 2)])
def test_run_lengths_are_read(bits, compression):
    palette = bytes(channel for level in range(2**bits) for channel in (level * 255 // (2**bits - 1),) * 3 + (0,))
    runs = b""
    for row in range(HEIGHT):
        level = row % 2**bits
        runs += bytes([WIDTH, level if bits == 8 else level * 17, 0, 0])
    data = file(bits, runs + b"\x00\x01", compression=compression, palette=palette)
    levels = np.arange(HEIGHT)[::-1] % 2**bits * 255 // (2**bits - 1)
    np.testing.assert_array_equal(np.asarray(images.decode(data))[:, 0, 0], levels)


@pytest.mark.parametrize(
    ("bits", "compression", "name"), [(0, 4, "JPEG inside"), (0, 5, "PNG inside"), (2, 0, "2 bits")]
)
def test_other_kinds_are_refused_by_name(bits, compression, name):
    with pytest.raises(UnreadableImage, match=f"is a BMP .*{name}.*, which is not supported"):
        images.decode(file(bits, bytes(600), compression=compression))


def test_missing_rows_are_noticed():
    for masks, compression in (((), 0), (MASKS[32, "bgra"], 3)):
        content = rows([row.tobytes() for row in masked(32, MASKS[32, "bgra"])], False)
        with pytest.raises(UnreadableImage, match="is truncated"):
            images.decode(file(32, content[: len(content) // 2], header=124, compression=compression, masks=masks))
