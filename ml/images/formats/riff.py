"""WebP: size, orientation and profile, from the chunks of its RIFF file."""

import io
import struct
from dataclasses import dataclass

from PIL import Image, WebPImagePlugin

from ml.images.accepted import damaged, truncated
from ml.images.formats import ifd
from ml.images.header import Header

_MOST_CHUNKS = 10_000
_MOST_PROFILE = 4 * 2**20


@dataclass(frozen=True)
class WebPHeader(Header):
    """With the ICC profile."""

    profile: bytes = b""


def read(data: bytes) -> Header:
    """Reads the size from the first chunk, and what stands in the others."""
    width = height = 0
    orientation, taken_at, profile = 1, None, b""
    at = 12
    for _ in range(_MOST_CHUNKS):
        if at + 8 > len(data):
            break
        name, length = struct.unpack_from("<4sI", data, at)
        body = at + 8
        if name == b"VP8X":
            width = 1 + int.from_bytes(_part(data, body + 4, 3), "little")
            height = 1 + int.from_bytes(_part(data, body + 7, 3), "little")
        elif name == b"VP8L" and not width:
            (bits,) = struct.unpack_from("<I", data, body + 1)
            width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        elif name == b"VP8 " and not width:
            width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, body + 6))
        elif name == b"EXIF":
            exif = data[body : body + length]
            orientation, taken_at = ifd.orientation(exif), ifd.taken_at(exif)
        elif name == b"ICCP" and length <= _MOST_PROFILE:
            profile = data[body : body + length]
        at = body + length + (length & 1)
    if not width:
        raise damaged()
    return WebPHeader("WEBP", width, height, orientation=orientation, taken_at=taken_at, profile=profile)


def open(data: bytes, header: WebPHeader) -> Image.Image:
    return WebPImagePlugin.WebPImageFile(io.BytesIO(data))


def _part(data: bytes, at: int, size: int) -> bytes:
    if at + size > len(data):
        raise truncated()
    return data[at : at + size]
