"""Decoding, in this process: the right plugin on the right bytes, every failure as our one error.

How long it may take and how much memory it may need, nothing here can enforce: see `ml.decoders`.
"""

import re
import threading
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

from PIL import Image

from ml.images import pixels
from ml.images.accepted import ImageInfo, Limits, UnreadableImage, damaged, truncated
from ml.images.formats import bmp, isobmff, jpeg, jpeg2000, jxl, netpbm, png, raw, riff, simple, tiff
from ml.images.header import Header
from ml.images.pixels import Samples
from ml.images.reading import read

Image.MAX_IMAGE_PIXELS = None  # the limit is ours, and checked before anything is decoded

# Above this many pixels an image is decoded alone, so that many threads with a large image each stay within memory.
_LARGE_PIXELS = 25_000_000
_large = threading.Lock()

_SHOWN = {"HEIF": "HEIC", "AVIF": "AVIF", "JPEG2000": "JPEG 2000", "WEBP": "WebP", "JXL": "JPEG XL", "DIB": "BMP"}
_SAVE_AS = "save it as JPEG or PNG"
_SMALLER = ("JPEG", "RAW")

Result = TypeVar("Result")


def probe(data: bytes, limits: Limits | None = None) -> ImageInfo:
    """Reads the header alone, in bounded time and memory whatever it says. Decodes nothing.

    Raises:
        UnreadableImage: no format we read, or larger than the limits.
    """
    header = _header(data, limits or Limits())
    return ImageInfo(*header.upright_size, header.format, header.taken_at)


def decode(data: bytes, *, min_side: int | None = None, limits: Limits | None = None) -> Image.Image:
    """Decodes the first frame.

    Args:
        data: a file's content.
        min_side: pixels that the caller needs along the short side. A larger image may come back smaller, never below
            this: JPEG is then decoded at 1/2, 1/4 or 1/8 of its size, ten times as fast for a photo of 12 megapixels.
        limits: refuse what is larger; those of the environment if None.

    Returns:
        Mode RGB, upright, in sRGB, without metadata.

    Raises:
        UnreadableImage: no format we read, larger than the limits, or damaged.
    """
    limits = limits or Limits()
    header = _header(data, limits)
    if isinstance(header, raw.RawHeader):
        return _developed(data, header, min_side, limits)
    return _decoded(data, header, min_side, limits)


def _header(data: bytes, limits: Limits) -> Header:
    limits.check_bytes(len(data))
    header = read(data)
    limits.check_stored(header.width, header.height, is_decoded_smaller=header.format in _SMALLER)
    return header


def _developed(data: bytes, header: raw.RawHeader, min_side: int | None, limits: Limits) -> Image.Image:
    with _alone_if_large(header.width * header.height):
        photo = _guarded(lambda: raw.develop(data, header, min_side), header)
    if photo.image is not None:
        return pixels.upright(pixels.to_rgb(photo.image, Samples(), min_side), photo.orientation)
    preview = _header(photo.preview, limits)
    image = _decoded(photo.preview, preview, min_side, limits)
    return image if preview.orientation != 1 else pixels.upright(image, photo.orientation)


def _decoded(data: bytes, header: Header, min_side: int | None, limits: Limits) -> Image.Image:
    image = _guarded(lambda: _opened(data, header, min_side), header)
    if image.format == "JPEG" and min_side:
        _guarded(lambda: image.draft(None, (min_side, min_side)), header)
    limits.check_decoded(*image.size)
    orientation = _orientation(image, header)
    with _alone_if_large(image.width * image.height):
        rgb = _guarded(lambda: _finished(image, data, header, min_side), header)
    return pixels.upright(rgb, orientation)


def _opened(data: bytes, header: Header, min_side: int | None) -> Image.Image:
    match header:
        case jpeg.JpegHeader():
            return jpeg.open(data, header)
        case png.PngHeader():
            return png.open(data, header)
        case tiff.TiffHeader():
            return tiff.open(data, header)
        case riff.WebPHeader():
            return riff.open(data, header)
        case bmp.BmpHeader():
            return bmp.open(data, header)
        case netpbm.NetpbmHeader():
            return netpbm.open(data, header)
        case jpeg2000.Jpeg2000Header():
            return jpeg2000.open(data, header, min_side)
    by_format = {"GIF": simple.open_gif, "QOI": simple.open_qoi, "JXL": jxl.open}
    by_format |= {"HEIF": isobmff.open_heif, "AVIF": isobmff.open_avif}
    return by_format[header.format](data, header)


def _finished(image: Image.Image, data: bytes, header: Header, min_side: int | None) -> Image.Image:
    if isinstance(header, tiff.TiffHeader):
        image = tiff.load(image, data, header)
    elif isinstance(header, png.PngHeader):
        image = png.load(image, data, header)
    image.load()
    rgb = pixels.to_rgb(image, _samples(image, header), min_side)
    rgb.info = {}
    return rgb


def _samples(image: Image.Image, header: Header) -> Samples:
    profile = getattr(header, "profile", b"") or image.info.get("icc_profile") or b""
    match header:
        case png.PngHeader():
            white = None if header.depths else 65535
            return Samples(white=white, depths=header.depths, profile=profile, gamma=header.gamma)
        case tiff.TiffHeader():
            return Samples(
                white=header.white,
                depths=header.depths,
                is_unsigned=header.sample == tiff.UNSIGNED,
                is_inverted=header.is_inverted,
                profile=profile,
            )
        case bmp.BmpHeader():
            return Samples(profile=profile, ignores_empty_alpha=True)
    return Samples(profile=profile)


def _orientation(image: Image.Image, header: Header) -> int:
    if header.format == "AVIF":  # Pillow does not turn it, and says so
        value = image.getexif().get(0x0112, 1)
        return value if isinstance(value, int) and 1 <= value <= 8 else 1
    return header.orientation


def _guarded(step: Callable[[], Result], header: Header) -> Result:
    """Runs a step of a decoder's, and turns whatever it raises into our one error.

    Decoders meet hostile bytes, and raise anything from struct.error to ZeroDivisionError when they do.
    """
    _make_warnings_errors()
    try:
        return step()
    except UnreadableImage:
        raise
    except MemoryError as error:
        raise UnreadableImage("needs more memory than decoding may take", hint="save it smaller") from error
    except Exception as error:
        text = str(error).lower()
        if re.search(r"unsupported|not supported|cannot handle|not implemented", text):
            name = _SHOWN.get(header.format, header.format)
            raise UnreadableImage(f"is a {name} of a kind that is not supported", hint=_SAVE_AS) from error
        if re.search(r"truncated|unexpected end|end of file|unexpected eof", text):
            raise truncated() from error
        raise damaged() from error


def _make_warnings_errors() -> None:
    # Not catch_warnings(): it swaps the process's list of filters and is not safe while other threads decode. The
    # filter stays; it is looked for each time because pytest, for one, takes filters away.
    entry = ("error", None, UserWarning, _PILLOW, 0)
    if entry not in warnings.filters:
        warnings.filterwarnings("error", category=UserWarning, module=_PILLOW.pattern)
        warnings.filterwarnings("ignore", message=_EXIF_WARNING, category=UserWarning)


_PILLOW = re.compile(r"PIL\.")
# Said of metadata, which many programs write wrongly, and not of pixels.
_EXIF_WARNING = "(Possibly )?[Cc]orrupt EXIF data|Metadata Warning"


def _alone_if_large(count: int) -> AbstractContextManager[object]:
    return _large if count > _LARGE_PIXELS else nullcontext()
