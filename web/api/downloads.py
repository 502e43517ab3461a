"""What a downloaded original is called on the disk of whoever downloads it: a name that tells what the file is.

Names come from strangers. `evil.html` that is a JPEG is saved as `evil.html.jpg`, which no program takes for a page; an
override that writes text from right to left, and would show `gpj.exe` as `exe.jpg`, does not come through.
"""

import re
import unicodedata

# Pillow's name of a format -> the extensions that it goes by, the usual one first, and its media type.
_FORMATS: dict[str, tuple[tuple[str, ...], str]] = {
    "JPEG": (("jpg", "jpeg", "jpe", "jfif"), "image/jpeg"),
    "MPO": (("jpg", "jpeg"), "image/jpeg"),
    "PNG": (("png",), "image/png"),
    "WEBP": (("webp",), "image/webp"),
    "GIF": (("gif",), "image/gif"),
    "BMP": (("bmp",), "image/bmp"),
    "TIFF": (("tif", "tiff"), "image/tiff"),
    "HEIF": (("heic", "heif"), "image/heif"),
    "AVIF": (("avif",), "image/avif"),
}
_UNKNOWN = (("bin",), "application/octet-stream")
MEDIA_TYPES = sorted({media_type for _, media_type in (*_FORMATS.values(), _UNKNOWN)})
_IMAGE_EXTENSIONS = {extension for extensions, _ in _FORMATS.values() for extension in extensions}
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)", re.IGNORECASE)  # devices, for Windows
_LONGEST = 120


def media_type(format: str) -> str:
    """What an original is sent as: an image of a kind that browsers know, or bytes."""
    return _FORMATS.get(format.upper(), _UNKNOWN)[1]


def download_name(name: str, format: str, id: str) -> str:
    """A name for the file.

    Args:
        name: what it was called when it was added.
        format: what its content is, by Pillow's name.
        id: of the image; the name of one whose own has nothing left.
    """
    extensions = _FORMATS.get(format.upper(), _UNKNOWN)[0]
    visible = "".join(each for each in unicodedata.normalize("NFC", name) if unicodedata.category(each)[0] != "C")
    stem = re.sub(r'[<>:"|?*]', "_", re.split(r"[/\\]", visible)[-1]).strip(". ")
    head, _, extension = stem.rpartition(".")
    if head and extension.lower() in extensions:
        return f"{_safe(head, id)}.{extension}"
    if head and extension.lower() in _IMAGE_EXTENSIONS:
        stem = head
    return f"{_safe(stem, id)}.{extensions[0]}"


def _safe(stem: str, id: str) -> str:
    stem = stem[:_LONGEST].strip(". ") or id
    return f"_{stem}" if _RESERVED.fullmatch(stem.partition(".")[0]) else stem
