"""One module for each format: which facts its header holds, and how Pillow is brought to decode it rightly.

read(data)           -> Header    a few bytes of what a stranger sent; never decodes
open(data, header)   -> Image     Pillow's image, not yet decoded
"""

from ml.images.formats import bmp, isobmff, jpeg, jpeg2000, jxl, netpbm, png, raw, riff, simple, tiff
from ml.images.header import Reader

_BY_SIGNATURE: tuple[tuple[tuple[bytes, ...], Reader], ...] = (
    ((b"\xff\xd8\xff",), jpeg.read),
    ((png.SIGNATURE,), png.read),
    ((b"GIF87a", b"GIF89a"), simple.read_gif),
    ((b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"), tiff.read),
    (jpeg2000.SIGNATURES, jpeg2000.read),
    (jxl.SIGNATURES, jxl.read),
    (raw.SIGNATURES, raw.read),
    ((b"qoif",), simple.read_qoi),
    ((b"BM",), bmp.read),
    (tuple(bytes([size, 0, 0, 0]) for size in (12, 40, 52, 56, 64, 108, 124)), bmp.read),
)


def reader_of(data: bytes) -> Reader | None:
    """What reads the header of a file, told by its first bytes; None for no format that we read."""
    for signatures, reader in _BY_SIGNATURE:
        if data.startswith(signatures):
            return reader
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return riff.read
    if data.startswith(netpbm.MAGIC) and data[2:3] in (b" ", b"\t", b"\r", b"\n", b"#"):
        return netpbm.read
    return {"HEIF": isobmff.read, "AVIF": isobmff.read, "RAW": raw.read}.get(isobmff.kind(data) or "")
