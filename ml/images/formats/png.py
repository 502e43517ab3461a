"""PNG: what its chunks say, and the chunks that a decoder needs.

Texts, times and histograms are healthy however long they are and whatever their checksum, so they are left out before a
decoder sees them; of an animation the still image is decoded.
"""

import io
import struct
import zlib
from dataclasses import dataclass

from PIL import Image, PngImagePlugin

from ml.images import deep_colour
from ml.images.accepted import damaged, truncated, unsupported
from ml.images.formats import ifd
from ml.images.header import Header

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT")
_GRAY, _GRAY_ALPHA = 0, 4
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # by colour type
_END = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
_MOST_CHUNKS = 100_000  # 32 MB in pieces of 8 kB, as libpng writes them, are 4,096
_MOST_PROFILE = 4 * 2**20


@dataclass(frozen=True)
class PngHeader(Header):
    """What decoding has to know of a PNG besides.

    Args:
        bits: of a sample.
        colour: its colour type.
        kept: where the chunks that make the image begin and end.
        cut_at: where a chunk of pixels begins that the end of the file cuts short; 0 if none.
        profile: the ICC profile.
        gamma: of the stored values, if the file says so and nothing better; 0 if not.
    """

    bits: int = 8
    colour: int = _GRAY
    kept: tuple[tuple[int, int], ...] = ()
    cut_at: int = 0
    profile: bytes = b""
    gamma: float = 0.0

    @property
    def depths(self) -> tuple[int, ...]:
        """Bits that values in 16 bits may really have."""
        return deep_colour.DEPTHS if self.bits == 16 and self.colour != _GRAY_ALPHA else ()


def read(data: bytes) -> Header:
    """Walks over the chunks; reads what they say of the image."""
    kept: list[tuple[int, int]] = []
    width = height = bits = colour = interlace = -1
    orientation, taken_at, profile, gamma, is_srgb = 1, None, b"", 0.0, False
    has_pixels, cut_at = False, 0
    at = len(SIGNATURE)
    for _ in range(_MOST_CHUNKS):
        if at + 8 > len(data):
            break
        length, name = struct.unpack_from(">I4s", data, at)
        body, end = at + 8, at + 12 + length
        if width < 0 and name != b"IHDR":
            if name == b"CgBI":
                raise unsupported("a PNG in Apple's own variant")
            raise damaged()
        if name == b"IHDR":
            width, height, bits, colour, _, _, interlace = struct.unpack_from(">IIBBBBB", data, body)
        elif name == b"eXIf":
            orientation, taken_at = ifd.orientation(data[body : end - 4]), ifd.taken_at(data[body : end - 4])
        elif name == b"iCCP" and not profile:
            profile = _unpacked(data[body : end - 4])
        elif name == b"sRGB":
            is_srgb = True
        elif name == b"gAMA" and length == 4:
            gamma = struct.unpack_from(">I", data, body)[0] / 100_000
        elif name == b"IEND":
            break
        has_pixels |= name == b"IDAT"
        if end > len(data):
            cut_at = at if name == b"IDAT" else 0
            break
        if name in _KEPT:
            if kept and kept[-1][1] == at:
                kept[-1] = (kept[-1][0], end)
            else:
                kept.append((at, end))
        at = end
    else:
        raise unsupported(f"a PNG of more than {_MOST_CHUNKS:,} chunks")
    if width < 0:
        raise truncated()
    if bits not in _DEPTHS.get(colour, ()) or interlace not in (0, 1):
        raise damaged()
    if not has_pixels:
        raise truncated()
    return PngHeader(
        "PNG",
        width,
        height,
        orientation=orientation,
        taken_at=taken_at,
        bits=bits,
        colour=colour,
        kept=tuple(kept),
        cut_at=cut_at,
        profile=profile,
        gamma=0.0 if is_srgb or profile else gamma,
    )


def open(data: bytes, header: PngHeader) -> PngImagePlugin.PngImageFile:
    """Pillow's image of the chunks that make it."""
    parts = [data[start:end] for start, end in header.kept]
    if header.cut_at:  # whether pixels are missing or the checksum alone, the decoder finds out
        rest = data[header.cut_at + 8 :]
        parts.append(struct.pack(">I", len(rest)) + b"IDAT" + rest + struct.pack(">I", zlib.crc32(b"IDAT" + rest)))
    return PngImagePlugin.PngImageFile(io.BytesIO(SIGNATURE + b"".join(parts) + _END))


def load(image: Image.Image, data: bytes, header: PngHeader) -> Image.Image:
    """The decoded image, bright where only some of 16 bits are in use."""
    return deep_colour.load(image, lambda: open(data, header), header.depths)


def _unpacked(chunk: bytes) -> bytes:
    """The profile of an iCCP chunk; none if it is damaged or huge."""
    _, _, packed = chunk.partition(b"\x00")
    try:
        unpacker = zlib.decompressobj()
        profile = unpacker.decompress(packed[1:], _MOST_PROFILE)
        return profile if unpacker.eof else b""
    except zlib.error:
        return b""
