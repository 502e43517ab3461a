"""From what a decoder leaves to upright RGB, 8 bits a channel, transparent parts over white.

Works through bands of rows, so that a large image never lies in memory a second time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ml.images import colour, deep_colour

_BAND_PIXELS = 2_000_000
_WHITE = (255, 255, 255)


@dataclass(frozen=True)
class Samples:
    """What the header knows of the samples and the decoder forgets.

    Args:
        white: the value that is white, of gray of 16 bits; None where all values together have to tell.
        depths: how many bits values of 16 bits may really have, if nobody says; the least that fits is taken.
        is_unsigned: of 32 bits, though Pillow takes them for signed.
        is_inverted: 0 is white.
        gamma: of the stored values; 0 if nobody says.
        profile: the ICC profile.
        ignores_empty_alpha: an alpha channel that is 0 everywhere means nothing.
    """

    white: int | None = 65535
    depths: tuple[int, ...] = ()
    is_unsigned: bool = False
    is_inverted: bool = False
    gamma: float = 0.0
    profile: bytes = b""
    ignores_empty_alpha: bool = False


def to_rgb(image: Image.Image, samples: Samples, min_side: int | None) -> Image.Image:
    """Mode RGB, in sRGB; made smaller by a whole factor where that leaves `min_side` pixels along the short side."""
    factor = max(1, min(image.size) // min_side) if min_side else 1
    is_wide = image.mode.startswith(("I", "F"))
    if not is_wide and factor == 1 and image.mode == "RGB" and "transparency" not in image.info:
        return _shown(image, samples)
    if samples.ignores_empty_alpha and image.mode == "RGBA" and image.getchannel("A").getextrema()[1] == 0:
        image = _without_alpha(image)
    step = _wide_step(image, samples) if is_wide else _narrow_step(image)
    result: Image.Image | None = None
    for top, band in _bands(image, factor):
        part = step(band)
        if factor > 1:
            part = part.reduce(factor)
        part = _shown(part, samples)
        if part.height == -(-image.height // factor):
            return part
        result = result or Image.new("RGB", (part.width, -(-image.height // factor)))
        result.paste(part, (0, top // factor))
    assert result is not None
    return result


def _bands(image: Image.Image, factor: int) -> Iterator[tuple[int, Image.Image]]:
    """The image in pieces of whole rows, each a multiple of the factor high."""
    rows = max(1, _BAND_PIXELS // image.width // factor) * factor
    if rows >= image.height:
        yield 0, image
        return
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(image.height, top + rows)))


def _narrow_step(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """Of 8 bits: to a mode that can be reduced and shown, L, RGB, CMYK, or one of these with alpha."""
    if image.mode == "La":  # multiplied with its alpha
        return lambda band: band.convert("LA").convert("RGBA")
    if image.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        return lambda band: band.convert("RGBA")
    if image.mode in ("L", "RGB", "CMYK"):
        return lambda band: band
    return lambda band: band.convert("L" if image.mode == "1" else "RGB")


def _without_alpha(image: Image.Image) -> Image.Image:
    return image.convert("RGB")


def _wide_step(image: Image.Image, samples: Samples) -> Callable[[Image.Image], Image.Image]:
    """Of 16 or 32 bits, or floating point: scaled to 8, by what all of the image says is black and white."""
    low, high = np.inf, -np.inf
    for _, band in _bands(image, 1):
        values = _values(band, samples)
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    if image.mode == "F":
        low, high = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
    elif samples.white is not None:
        low, high = 0.0, float(samples.white)
    elif low >= 0 and samples.depths:
        low, high = 0.0, float(deep_colour.white_of(high, samples.depths))
    scale = 255.0 / (high - low) if high > low else 0.0
    key = image.info.get("transparency")

    def step(band: Image.Image) -> Image.Image:
        values = _values(band, samples)
        levels = ((values - low) * scale + 0.5).clip(0, 255).astype(np.uint8)
        gray = Image.fromarray(255 - levels if samples.is_inverted else levels)
        if not isinstance(key, int):
            return gray
        alpha = Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))
        return Image.merge("LA", (gray, alpha)).convert("RGBA")

    return step


def _values(band: Image.Image, samples: Samples) -> np.ndarray:
    values = np.asarray(band)
    if samples.is_unsigned and values.dtype == np.int32:
        values = values.view(np.uint32)
    return np.nan_to_num(values.astype(np.float32), posinf=0.0, neginf=0.0)


def _shown(band: Image.Image, samples: Samples) -> Image.Image:
    """In sRGB, over white."""
    if band.mode == "RGBA":
        alpha = band.getchannel("A")
        opaque = _coloured(band.convert("RGB"), samples)
        white = Image.new("RGB", band.size, _WHITE)
        white.paste(opaque, mask=alpha)
        return white
    return _coloured(band, samples)


def _coloured(image: Image.Image, samples: Samples) -> Image.Image:
    image = colour.to_srgb(image, samples.profile)
    if samples.gamma and image.mode in ("L", "RGB"):
        image = _brightened(image, samples.gamma)
    return image if image.mode == "RGB" else image.convert("RGB")


def _brightened(image: Image.Image, gamma: float) -> Image.Image:
    """PNG's gamma says how light became numbers; screens expect 1 / 2.2."""
    power = 1 / (2.2 * gamma)
    if not 0.05 < gamma < 5 or abs(power - 1) < 0.05:
        return image
    table = [round(255 * (level / 255) ** power) for level in range(256)]
    return image.point(table * len(image.getbands()))


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turned as EXIF says: 1 (not at all) to 8."""
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)
