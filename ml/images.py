"""Bytes to an image: formats, EXIF orientation, limits, one error type.

The bytes come from strangers. The type is read from the content, never from a name; the size is read from the header
and checked before anything is decoded; a warning of the decoder is an error; the first frame is the image. What comes
out is upright RGB, 8 bits a channel, transparent parts over white. Embedding and storage are other modules' work.
"""

import io
import re
import threading
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pillow_heif
from PIL import Image, JpegImagePlugin

from ml.errors import LookalikeError

pillow_heif.register_heif_opener()

# Every format here is told by its first bytes. Left out on purpose: those that start other programs (EPS), hold no
# pixels (WMF), hold an image of another size than their header says (ICO), have no signature (TGA, PCX), or are read
# by rarely exercised code (PSD, FLI, DDS and older ones).
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "HEIF", "AVIF", "JPEG2000", "PPM", "QOI")
FORMATS_SHOWN = "JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC, AVIF, JPEG 2000, PPM, QOI"

# Above this many pixels an image is decoded alone, so that many threads with a large image each stay within memory.
_LARGE_PIXELS = 25_000_000
_large = threading.Lock()

_ORIENTATION_TAG = 0x0112

Result = TypeVar("Result")


class UnreadableImage(LookalikeError):
    """The bytes are no image that Lookalike accepts. The message is fit to show to the person who sent them.

    The message reads on from the image's name: "is empty", "is 30000 x 30000 pixels, the limit is 100 megapixels".
    """


@dataclass(frozen=True)
class Limits:
    """What an image may weigh: bytes as stored, pixels as its header says."""

    max_bytes: int = 32 * 2**20
    max_pixels: int = 100_000_000


@dataclass(frozen=True)
class ImageInfo:
    """What an image's header says. Width and height are those of the upright image."""

    width: int
    height: int
    format: str


def probe(data: bytes, limits: Limits = Limits()) -> ImageInfo:
    """Reads the header alone.

    Raises:
        UnreadableImage: no format we read, or larger than the limits.
    """
    image = _open(data, limits)
    width, height = image.size
    if _orientation(image) >= 5:
        width, height = height, width
    return ImageInfo(width, height, image.format or "")


def decode(data: bytes, *, min_side: int | None = None, limits: Limits = Limits()) -> Image.Image:
    """Decodes the first frame.

    Args:
        data: a file's content.
        min_side: pixels that the caller needs along the short side. A larger image may come back smaller, never below
            this: JPEG is then decoded at 1/2, 1/4 or 1/8 of its size, ten times as fast for a photo of 12 megapixels.
        limits: refuse what is larger.

    Returns:
        Mode RGB, upright, without metadata.

    Raises:
        UnreadableImage: no format we read, larger than the limits, or damaged.
    """
    image = _open(data, limits)
    is_jpeg = image.format == "JPEG"
    if is_jpeg and min_side:
        image.draft(None, (min_side, min_side))
    orientation = _orientation(image)
    with _alone_if_large(image):
        rgb = _guarded(lambda: _finished(image, min_side))
    return _upright(rgb, orientation)


def thumbnail(image: Image.Image, size_px: int = 256) -> bytes:
    """A JPEG whose longer side is at most `size_px`, without any metadata of the original."""
    small = image.copy()
    small.thumbnail((size_px, size_px), Image.Resampling.BICUBIC, reducing_gap=2.0)
    small.info.clear()
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85, optimize=True, progressive=True)
    return buffer.getvalue()


def _open(data: bytes, limits: Limits) -> Image.Image:
    if not data:
        raise UnreadableImage("is empty")
    if len(data) > limits.max_bytes:
        raise UnreadableImage(f"is {_megabytes(len(data))}, the limit is {_megabytes(limits.max_bytes)}")
    # Pillow refuses above twice this number and warns above it; both must lie above our own limit to leave it the say.
    if Image.MAX_IMAGE_PIXELS is not None and limits.max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = limits.max_pixels
    image = _guarded(lambda: _opened(data), limits)
    width, height = image.size
    if width < 1 or height < 1:
        raise UnreadableImage("has no pixels")
    if width * height > limits.max_pixels:
        megapixels = limits.max_pixels / 1e6
        raise UnreadableImage(f"is {width} x {height} pixels, the limit is {megapixels:g} megapixels")
    return image


def _opened(data: bytes) -> Image.Image:
    stream = io.BytesIO(data)
    if data.startswith(b"\xff\xd8\xff"):
        # Not through Image.open: that looks for the second image which some phones append, and stumbles over it.
        return JpegImagePlugin.JpegImageFile(stream)
    return Image.open(stream, formats=FORMATS)


def _guarded(step: Callable[[], Result], limits: Limits | None = None) -> Result:
    """Runs a step of Pillow's, and turns whatever it raises into our one error.

    Decoders meet hostile bytes, and raise anything from struct.error to ZeroDivisionError when they do.
    """
    _make_warnings_errors()
    try:
        return step()
    except Image.UnidentifiedImageError as error:
        raise UnreadableImage(f"is no image that we read ({FORMATS_SHOWN})") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        pixels = re.search(r"\((\d+) pixels\)", str(error))
        size = f"is {int(pixels[1]) / 1e6:.0f} megapixels" if pixels else "has too many pixels"
        limit = f", the limit is {limits.max_pixels / 1e6:g} megapixels" if limits else ""
        raise UnreadableImage(size + limit) from error
    except MemoryError as error:
        raise UnreadableImage("needs more memory than there is") from error
    except Exception as error:
        reason = "is truncated" if "truncated" in str(error).lower() else "is damaged"
        raise UnreadableImage(reason) from error


def _make_warnings_errors() -> None:
    # Not catch_warnings(): it swaps the process's list of filters and is not safe while other threads decode. The
    # filter stays; it is looked for each time because pytest, for one, takes filters away.
    entry = ("error", None, UserWarning, _PILLOW, 0)
    if entry not in warnings.filters:
        warnings.filterwarnings("error", category=UserWarning, module=_PILLOW.pattern)
        warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", message=_EXIF_WARNING, category=UserWarning)


_PILLOW = re.compile(r"PIL\.")
# Said of metadata, which many programs write wrongly, and not of pixels.
_EXIF_WARNING = "(Possibly )?[Cc]orrupt EXIF data|Metadata Warning"


def _alone_if_large(image: Image.Image) -> AbstractContextManager[object]:
    return _large if image.width * image.height > _LARGE_PIXELS else nullcontext()


def _finished(image: Image.Image, min_side: int | None) -> Image.Image:
    image.load()
    rgb = _as_rgb(image)
    factor = min(rgb.size) // min_side if min_side else 1
    if factor >= 2:
        rgb = rgb.reduce(factor)
    rgb.info = {}
    return rgb


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return _gray_of_wide(image).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGB", rgba.size, "white")
        white.paste(rgba, mask=rgba.getchannel("A"))
        return white
    return image if image.mode == "RGB" else image.convert("RGB")


def _gray_of_wide(image: Image.Image) -> Image.Image:
    """Scales 16-bit, 32-bit and float gray to 8 bits. Pillow's own conversion would clip at 255."""
    values = np.asarray(image).astype(np.float32)
    values = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if image.mode.startswith("I") and low >= 0 and high <= 65535:
        low, high = 0.0, 65535.0
    elif image.mode == "F" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    scaled = (values - low) * (255.0 / (high - low) if high > low else 0.0)
    return Image.fromarray((scaled + 0.5).astype(np.uint8))


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 (upright) to 8. An image with damaged EXIF is as good as one without."""
    if image.format == "TIFF":  # Pillow turns these itself, size and pixels
        return 1
    _make_warnings_errors()
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # noqa: BLE001  hostile bytes raise anything here, and a missing orientation harms nothing
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _megabytes(count: int) -> str:
    return f"{count / 2**20:.1f} MB" if count < 10 * 2**20 else f"{count / 2**20:.0f} MB"
