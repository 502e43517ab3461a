"""Colours in 16 bits of which only some are in use: cameras and scanners store 10, 12 and 14 bits as they come.

Pillow keeps the upper 8 bits of each sample, and there such an image is nearly black. It is decoded a second time with
the bytes of each sample exchanged, which gives the lower 8, and scaled by the number of bits that are in use.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from ml.images.accepted import damaged

_BAND_PIXELS = 1_000_000
_ALPHA = "Aa"
DEPTHS = (10, 12, 16)  # where nobody says; a photo that only stays below 14 bits may be dark on purpose


def white_of(highest: float, depths: Sequence[int]) -> int:
    """The value that is white: the largest of the least of `depths` that holds the highest value."""
    return next((1 << depth) - 1 for depth in depths if highest < 1 << depth)


def is_dark(image: Image.Image, depths: Sequence[int]) -> bool:
    """Whether a decoded image of 16 bits per colour shows that fewer are in use.

    Args:
        image: upper 8 bits of each sample.
        depths: numbers of bits that may be in use, ascending, the last of them the full number; () if nothing is known.
    """
    if len(depths) < 2 or len(image.getbands()) < 3:
        return False
    return _highest(image) < 1 << (depths[-2] - 8)


def load(image: Image.Image, reopen: Callable[[], ImageFile.ImageFile], depths: Sequence[int]) -> Image.Image:
    """The decoded image, scaled by the least number of bits that holds all its values.

    Args:
        image: opened; mode RGB, RGBA or CMYK where its colours are in 16 bits.
        reopen: opens it a second time.
        depths: as of `is_dark`.
    """
    image.load()
    if not is_dark(image, depths):
        return image
    lower = reopen()
    lower.tile = [each._replace(args=_exchanged(each.args)) for each in lower.tile]
    lower.load()
    step = max(1, _BAND_PIXELS // image.width)
    boxes = [(0, top, image.width, min(image.height, top + step)) for top in range(0, image.height, step)]
    bands = range(len(image.getbands()))
    highest = np.max([_joined(image, lower, box).max(axis=(0, 1)) for box in boxes], axis=0)
    colours = [band for band in bands if image.getbands()[band] not in _ALPHA]
    alpha = [band for band in bands if band not in colours]
    white = np.full(len(bands), 2 ** depths[-1] - 1)
    for group in (colours, alpha):
        most = highest[group].max(initial=0)
        white[group] = white_of(most, depths)
    for box in boxes:
        levels = (_joined(image, lower, box) * (255 / white) + 0.5).astype(np.uint8)
        size = (box[2] - box[0], box[3] - box[1])
        lower.paste(Image.frombytes(image.mode, size, levels.tobytes()), box)
    lower.info = image.info
    return lower


def _highest(image: Image.Image) -> int:
    """The highest level of any colour; alpha is none."""
    colours = [image.getchannel(band).histogram() for band in image.getbands() if band not in _ALPHA]
    return max(level for counts in colours for level, count in enumerate(counts) if count)


def _exchanged(arguments: tuple[Any, ...] | str | None) -> tuple[Any, ...] | str:
    """A decoder's, with the raw mode of the other byte order: RGB;16L and RGB;16B; with N, the machine's own."""
    layout, *rest = (arguments,) if isinstance(arguments, str) else arguments or ("",)
    own, other = ("L", "B") if sys.byteorder == "little" else ("B", "L")
    name, order = layout[:-1], layout[-1:].replace("N", own)
    if name[-3:] != ";16":
        raise damaged()
    exchanged = name + {own: other, other: own}[order]
    return exchanged if isinstance(arguments, str) else (exchanged, *rest)


def _joined(upper: Image.Image, lower: Image.Image, box: tuple[int, int, int, int]) -> np.ndarray:
    """uint16 [rows, width, bands]."""
    high, low = np.asarray(upper.crop(box)), np.asarray(lower.crop(box))
    joined: np.ndarray = high.astype(np.uint16) << 8 | low
    return joined
