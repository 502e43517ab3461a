"""BMP, with its file's header or without (DIB): which layouts are read, and masks that Pillow does not know."""

import io
import struct
from dataclasses import dataclass

import numpy as np
from PIL import BmpImagePlugin, Image

from ml.images.accepted import damaged, truncated, unsupported
from ml.images.header import Header

_SIZES = (12, 16, 40, 52, 56, 64, 108, 124)
_DEPTHS = {0: (1, 4, 8, 16, 24, 32), 1: (8,), 2: (4,), 3: (16, 32), 6: (16, 32)}  # by compression
_NAMES = {4: "JPEG inside", 5: "PNG inside", 11: "CMYK colours", 12: "CMYK colours", 13: "CMYK colours"}


@dataclass(frozen=True)
class BmpHeader(Header):
    """What decoding has to know of a BMP besides.

    Args:
        bits: of a pixel.
        masks: of red, green, blue and alpha in a pixel of 16 or 32 bits; empty where a palette or bytes say it.
        pixels_at: where rows begin.
        is_top_down: the first row is the upper one.
    """

    bits: int = 24
    masks: tuple[int, ...] = ()
    pixels_at: int = 0
    is_top_down: bool = False


def read(data: bytes) -> Header:
    """Reads the header of either kind."""
    has_file_header = data.startswith(b"BM")
    at = 14 if has_file_header else 0
    (size,) = struct.unpack_from("<I", data, at)
    if size not in _SIZES:
        raise damaged() if size > 256 else unsupported(f"a BMP with a header of {size} bytes")
    if size == 16:
        raise unsupported("a BMP of OS/2 with a short header")
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, at + 4)
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, at + 4)
    if size == 64 and compression in (3, 4):  # OS/2 numbers them otherwise
        raise unsupported("a BMP of OS/2 with Huffman or RLE24 compression")
    if compression not in _DEPTHS:
        raise unsupported(f"a BMP with {_NAMES.get(compression, f'compression {compression}')}")
    if bits not in _DEPTHS[compression]:
        raise unsupported(f"a BMP of {bits} bits per pixel")
    if width < 0:
        raise damaged()
    masks: tuple[int, ...] = ()
    masks_end = at + size
    if compression in (3, 6):
        count = 4 if compression == 6 or size >= 56 else 3
        masks = struct.unpack_from(f"<{count}I", data, at + 40) + (0,) * (4 - count)
        masks_end = max(masks_end, at + 40 + 4 * count)
    pixels_at = struct.unpack_from("<I", data, 10)[0] if has_file_header else masks_end
    format = "BMP" if has_file_header else "DIB"
    return BmpHeader(format, width, abs(height), bits=bits, masks=masks, pixels_at=pixels_at, is_top_down=height < 0)


def open(data: bytes, header: BmpHeader) -> Image.Image:
    """Pillow's image, or that of masks which Pillow does not know."""
    if header.masks:
        return _masked(data, header)
    plugin = BmpImagePlugin.BmpImageFile if header.format == "BMP" else BmpImagePlugin.DibImageFile
    return plugin(io.BytesIO(data))


def _masked(data: bytes, header: BmpHeader) -> Image.Image:
    """Pixels whose masks say which bits are which colour."""
    width, height, size = header.width, header.height, header.bits // 8
    stride = (width * size + 3) // 4 * 4
    rows = data[header.pixels_at : header.pixels_at + stride * height]
    if len(rows) < stride * height:
        raise truncated()
    image = Image.new("RGBA" if header.masks[3] else "RGB", (width, height))
    step = max(1, 1_000_000 // max(1, width))
    for top in range(0, height, step):
        count = min(step, height - top)
        part = np.frombuffer(rows, np.uint8, count * stride, top * stride).reshape(count, stride)
        pixels = np.ascontiguousarray(part[:, : width * size]).view(f"<u{size}").astype(np.uint32)
        channels = [_channel(pixels, mask) for mask in header.masks[: len(image.mode)]]
        band = np.dstack(channels)
        at = top if header.is_top_down else height - top - count
        image.paste(Image.fromarray(band if header.is_top_down else band[::-1]), (0, at))
    return image


def _channel(pixels: np.ndarray, mask: int) -> np.ndarray:
    """One colour of pixels, scaled to 0..255."""
    if not mask:
        return np.zeros(pixels.shape, np.uint8)
    shift = (mask & -mask).bit_length() - 1
    most = mask >> shift
    values = (pixels & np.uint32(mask)) >> np.uint32(shift)
    return ((values.astype(np.float32) * (255.0 / most)) + 0.5).astype(np.uint8)
