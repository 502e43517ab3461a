"""Which format a file is, told from its first bytes, and what its header says. Decodes nothing.

Runs in the portal's own process on what strangers send: no decoder is called here, so that neither a claim of a
header nor a million of empty chunks costs memory or time. The formats are in `ml.images.formats`, one a module.
"""

import struct

from ml.images.accepted import FORMATS_SHOWN, UnreadableImage, truncated
from ml.images.formats import reader_of
from ml.images.header import Header

# What people send by mistake, by its first bytes: told by name, because "no image" would not be true of most of it.
_OTHERS = (
    (b"8BPS", "a Photoshop document"),
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript document"),
    (b"\x00\x00\x01\x00", "a Windows icon"),
    (b"gimp xcf", "a GIMP document"),
    (b"v/1\x01", "an OpenEXR image"),
    (b"#?RADIANCE", "a Radiance image"),
    (b"DDS ", "a DirectDraw texture"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (b"FLV\x01", "a Flash video"),
    (b"II\xbc", "a JPEG XR image"),
    (b"AT&TFORM", "a DjVu document"),
    (b"PK\x03\x04", "a ZIP archive"),
)


def read(data: bytes) -> Header:
    """Tells the format from the content and reads its header.

    Raises:
        UnreadableImage: no format that we read, a kind of it that we do not read, or a damaged header.
    """
    reader = reader_of(data)
    if reader is None:
        raise _stranger(data)
    try:
        header = reader(data)
    except (struct.error, IndexError, ValueError, ArithmeticError) as error:
        raise truncated() from error
    return header


def _stranger(data: bytes) -> UnreadableImage:
    for signature, name in _OTHERS:
        if data.startswith(signature):
            return UnreadableImage(f"is {name}, which is not read", hint="save the image as JPEG or PNG")
    start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<svg", b"<?xml")) and b"<svg" in data[:4096].lower():
        return UnreadableImage("is a drawing (SVG), no image that we read", hint="save the image as JPEG or PNG")
    if data[4:8] == b"ftyp":
        return UnreadableImage("is a video, or an image in a format that is not read", hint="save a frame as JPEG")
    return UnreadableImage(f"is no image that we read ({FORMATS_SHOWN})")
