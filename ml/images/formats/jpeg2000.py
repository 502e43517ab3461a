"""JPEG 2000: size, depth and levels, from the code stream or the boxes around it.

It is decoded at the smallest of its levels that serves: at a fourth of the size in a tenth of the time.
"""

import io
import struct
from dataclasses import dataclass

from PIL import Image, Jpeg2KImagePlugin

from ml.images.accepted import damaged, unsupported
from ml.images.formats.isobmff import boxes
from ml.images.header import Header

SIGNATURES = (b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  \r\n\x87\n")
_MOST_PROFILE = 4 * 2**20
_COD = 0x52


@dataclass(frozen=True)
class Jpeg2000Header(Header):
    """What decoding has to know besides.

    Args:
        levels: how many times the image may be halved.
        bits: of a sample.
        profile: the ICC profile.
    """

    levels: int = 0
    bits: int = 8
    profile: bytes = b""


def read(data: bytes) -> Header:
    """Reads the first markers of the code stream."""
    stream, profile = 0, b""
    if data.startswith(SIGNATURES[1]):
        stream, profile = _boxed(data)
    return _stream(data, stream, profile)


def _boxed(data: bytes) -> tuple[int, bytes]:
    stream, profile = -1, b""
    for name, at, end in boxes(data, 0, len(data)):
        if name == b"jp2h":
            for inner, start, stop in boxes(data, at, end):
                if inner == b"colr" and data[start] == 2 and stop - start <= _MOST_PROFILE:
                    profile = profile or data[start + 3 : stop]
                if inner == b"colr" and data[start] == 1:
                    (space,) = struct.unpack_from(">I", data, start + 3)
                    if space not in (0, 12, 15, 16, 17, 18):
                        raise unsupported(f"a JPEG 2000 in colour space {space}")
        elif name == b"jp2c":
            stream = at
            break
    if stream < 0:
        raise damaged()
    return stream, profile


def _stream(data: bytes, at: int, profile: bytes) -> Jpeg2000Header:
    marker, length, _, right, bottom, left, top = struct.unpack_from(">2xHHHIIII", data, at)
    components = struct.unpack_from(">H", data, at + 40)[0]
    if marker != 0xFF51:
        raise damaged()
    if not components:
        raise damaged()
    if components > 4:
        raise unsupported(f"a JPEG 2000 of {components} channels")
    depths = {data[at + 42 + 3 * number] for number in range(components)}
    bits = max((depth & 0x7F) + 1 for depth in depths)
    if len(depths) > 1:
        raise unsupported("a JPEG 2000 whose channels differ in depth")
    # Pillow rounds the brightest of more than 8 bits up to black, and never makes white of fewer.
    if depths.pop() & 0x80 or not (bits == 8 or (components == 1 and 8 < bits <= 16)):
        raise unsupported(f"a JPEG 2000 of {components} x {bits} bits, or of signed values")
    levels, at = 0, at + 4 + length
    for _ in range(64):
        marker, length = struct.unpack_from(">HH", data, at)
        if marker == 0xFF00 | _COD:
            levels = data[at + 9]
        if marker == 0xFF90:  # the first tile
            break
        at += 2 + length
    return Jpeg2000Header("JPEG2000", right - left, bottom - top, levels=min(levels, 32), bits=bits, profile=profile)


def open(data: bytes, header: Jpeg2000Header, min_side: int | None) -> Image.Image:
    """Pillow's image, to be decoded at a fraction of its size where that leaves `min_side` pixels."""
    image = Jpeg2KImagePlugin.Jpeg2KImageFile(io.BytesIO(data))
    short = min(image.size)
    halvings = 0
    while min_side and halvings < header.levels and short >> (halvings + 1) >= min_side:
        halvings += 1
    image.reduce = halvings
    return image
