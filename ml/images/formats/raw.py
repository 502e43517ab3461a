"""Raw files of cameras: told apart from TIFF and video, measured, and developed or replaced by their large preview.

LibRaw does the work, through rawpy, which the extra `raw` brings. The small thumbnail that every raw file carries is
never taken for the image.
"""

import io
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from ml.images.accepted import UnreadableImage, damaged
from ml.images.formats import ifd, isobmff
from ml.images.header import Header

RAF = b"FUJIFILMCCD-RAW"
SIGNATURES = (RAF, b"IIRO", b"IIRS", b"MMOR", b"IIU\x00")
_DNG_VERSION = 50706
_PHOTOMETRIC_OF_SENSORS = (32803, 34892)
_ORIENTATION_OF_FLIP = {0: 1, 3: 3, 5: 8, 6: 6}


@dataclass(frozen=True)
class RawHeader(Header):
    """Which camera's format it is, for people."""

    kind: str = "RAW"


def is_raw(directories: ifd.Directories) -> bool:
    """Whether a TIFF is a camera's raw file."""
    for number, (_, directory) in enumerate(directories.chain()):
        if number == 0 and _DNG_VERSION in directory:
            return True
        if directory.number(262, 0) in _PHOTOMETRIC_OF_SENSORS:
            return True
        if any(sub.number(262, 0) in _PHOTOMETRIC_OF_SENSORS for _, sub in directories.below(directory)):
            return True
    return False


def read(data: bytes) -> Header:
    """Reads the sizes that a raw file tells of."""
    if data.startswith(RAF):
        return _raf(data)
    if data[4:8] == b"ftyp":
        return _cr3(data)
    return read_directories(data, ifd.Directories(data))


def read_directories(data: bytes, directories: ifd.Directories) -> RawHeader:
    """Of a raw file that is built like a TIFF: the size of its largest image."""
    first = directories.first()
    found = [first, *(each for _, each in directories.chain())]
    found += [sub for each in list(found) for _, sub in directories.below(each)]
    sizes = [(each.number(256, 0), each.number(257, 0)) for each in found]
    sizes += [(first.number(2, 0), first.number(3, 0))] if data.startswith(b"IIU") else []
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    orientation = first.number(ifd.ORIENTATION, first.number(ifd.ORIENTATION, 1))
    kind = "DNG" if _DNG_VERSION in first else "RAW"
    return RawHeader("RAW", *((height, width) if 5 <= orientation <= 8 else (width, height)), kind=kind)


def _raf(data: bytes) -> RawHeader:
    from ml.images.formats import jpeg

    at, length = struct.unpack_from(">II", data, 84)
    preview = jpeg.read(data[at : at + length])
    return RawHeader("RAW", *preview.upright_size, kind="RAF")


def _cr3(data: bytes) -> RawHeader:
    moov = next(((at, end) for name, at, end in isobmff.boxes(data, 0, len(data)) if name == b"moov"), None)
    if moov is None:
        raise damaged()
    sizes = []
    at = moov[0]
    while (at := data.find(b"CRAW", at, moov[1])) >= 0:
        sizes.append(struct.unpack_from(">HH", data, at + 28))
        at += 4
    if not sizes:
        raise damaged()
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    return RawHeader("RAW", width, height, kind="CR3")


@dataclass(frozen=True)
class Developed:
    """What came out of a raw file: an image, or a JPEG with how it has to be turned."""

    image: Image.Image | None = None
    preview: bytes = b""
    orientation: int = 1


def develop(data: bytes, header: RawHeader, min_side: int | None) -> Developed:
    """The largest preview, if it will do, else the sensor's data at half size.

    Raises:
        UnreadableImage: rawpy is not installed, or LibRaw cannot read the file.
    """
    try:
        import rawpy
    except ImportError as error:
        raise UnreadableImage(
            f"is a camera raw file ({header.kind}), which needs the extra `raw`", hint='pip install "lookalike[raw]"'
        ) from error
    try:
        with rawpy.imread(io.BytesIO(data)) as photo:
            sensor = (photo.sizes.width, photo.sizes.height)
            preview = _preview(photo, rawpy, sensor, min_side)
            if preview is not None:
                return preview
            half = min_side is not None and min(sensor) // 2 >= min_side
            pixels = photo.postprocess(half_size=half, use_camera_wb=True, output_bps=8)
    except rawpy.LibRawFileUnsupportedError as error:
        raise UnreadableImage(
            f"is a camera raw file ({header.kind}) of a kind that is not supported", hint="export it as JPEG"
        ) from error
    except rawpy.LibRawError as error:
        raise damaged() from error
    return Developed(Image.fromarray(np.ascontiguousarray(pixels)))


def _preview(photo: Any, rawpy: Any, sensor: tuple[int, int], min_side: int | None) -> Developed | None:
    """The preview that the camera made, unless it is a thumbnail."""
    from ml.images.formats import jpeg

    try:
        thumb = photo.extract_thumb()
    except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError):
        return None
    wanted = max(min_side or 0, min(sensor) // (4 if min_side else 2))
    orientation = _ORIENTATION_OF_FLIP.get(photo.sizes.flip, 1)
    if thumb.format == rawpy.ThumbFormat.JPEG:
        header = jpeg.read(thumb.data)
        if min(header.width, header.height) < wanted:
            return None
        return Developed(preview=bytes(thumb.data), orientation=orientation)
    if thumb.format == rawpy.ThumbFormat.BITMAP and min(thumb.data.shape[:2]) >= wanted:
        return Developed(Image.fromarray(np.array(thumb.data)), orientation=orientation)
    return None
