"""What is taken: formats by name, limits by number, and the errors that say no.

Leaves reading to `ml.images.formats` and decoding to `ml.images.decoding`.
"""

import os
from dataclasses import dataclass, field

from ml.errors import LookalikeError

# Every format here is told by its first bytes. Left out on purpose: those that start other programs (EPS), hold no
# pixels (WMF), hold an image of another size than their header says (ICO), have no signature (TGA, PCX), or are read
# by rarely exercised code (PSD, FLI, DDS and older ones).
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "HEIF", "AVIF", "JPEG2000", "PPM", "QOI", "JXL", "RAW")
FORMATS_SHOWN = "JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC, AVIF, JPEG 2000, JPEG XL, PPM, QOI, camera raw"

_MAX_MEGAPIXELS = "LOOKALIKE_MAX_MEGAPIXELS"
_MAX_UPLOAD_MB = "LOOKALIKE_MAX_UPLOAD_MB"
_MAX_DECODE_S = "LOOKALIKE_MAX_DECODE_SECONDS"

# A JPEG is decoded at 1/2 to 1/8 of its size and a camera's raw file at half of it: a fourth of the pixels, or less.
_OF_A_FRACTION = 4


class UnreadableImage(LookalikeError):
    """The bytes are no image that Lookalike accepts. The message is fit to show to the person who sent them.

    The message reads on from the image's name: "is empty", "is a JPEG with 12 bits per sample, which is not supported".
    """


class BadBox(LookalikeError):
    """Four numbers that are no part of the image."""


def unsupported(what: str, hint: str = "save it as JPEG or PNG") -> UnreadableImage:
    """The error for an image that is healthy and of a kind that is not read: "a TIFF in CIELAB colours"."""
    return UnreadableImage(f"is {what}, which is not supported", hint=hint)


def damaged() -> UnreadableImage:
    """The error for bytes that no decoder can make sense of."""
    return UnreadableImage("is damaged")


def truncated() -> UnreadableImage:
    """The error for an image whose end is missing."""
    return UnreadableImage("is truncated")


def _from_environment(name: str, default: int, unit: int) -> int:
    value = os.environ.get(name, "")
    return (int(value) if value.isdecimal() and int(value) else default) * unit


@dataclass(frozen=True)
class Limits:
    """What an image may weigh: bytes as stored, pixels as decoded, seconds of processor time to decode it.

    Workers pass their settings. What does not, training and evaluation above all, gets the same from the environment.
    """

    max_bytes: int = field(default_factory=lambda: _from_environment(_MAX_UPLOAD_MB, 32, 2**20))
    max_pixels: int = field(default_factory=lambda: _from_environment(_MAX_MEGAPIXELS, 100, 1_000_000))
    max_decode_s: float = field(default_factory=lambda: float(_from_environment(_MAX_DECODE_S, 10, 1)))

    def check_bytes(self, count: int) -> None:
        """Raises UnreadableImage when a file has too many bytes, or none."""
        if not count:
            raise UnreadableImage("is empty")
        if count > self.max_bytes:
            raise UnreadableImage(
                f"is {_megabytes(count)}, the limit is {_megabytes(self.max_bytes)} ({_MAX_UPLOAD_MB})"
            )

    def check_stored(self, width: int, height: int, *, is_decoded_smaller: bool) -> None:
        """Raises UnreadableImage when an image has too many pixels, as its header says.

        Args:
            width: pixels.
            height: pixels.
            is_decoded_smaller: its decoder leaves a fourth of the pixels or less; then four times as many are fine.
        """
        self._check(width, height, self.max_pixels * (_OF_A_FRACTION if is_decoded_smaller else 1))

    def check_decoded(self, width: int, height: int) -> None:
        """Raises UnreadableImage when decoding would give too many pixels."""
        self._check(width, height, self.max_pixels)

    def _check(self, width: int, height: int, most: int) -> None:
        if width < 1 or height < 1:
            raise UnreadableImage("has no pixels")
        if width * height > most:
            raise UnreadableImage(
                f"is {_megapixels(width * height)} megapixels ({width} x {height}), "
                f"the limit is {most / 1e6:g} megapixels ({_MAX_MEGAPIXELS})",
                hint=f"raise {_MAX_MEGAPIXELS}, or save the image smaller",
            )


@dataclass(frozen=True)
class ImageInfo:
    """What an image's header says. Width and height are those of the upright image, in pixels.

    `taken_at` is in seconds since 1970 by the camera's clock, as if that showed UTC; None if nothing says.
    """

    width: int
    height: int
    format: str
    taken_at: float | None = None


def _megapixels(pixels: int) -> str:
    return f"{pixels / 1e6:.0f}" if pixels >= 10e6 else f"{pixels / 1e6:.2g}"


def _megabytes(count: int) -> str:
    return f"{count / 2**20:.1f} MB" if count < 10 * 2**20 else f"{count / 2**20:.0f} MB"
