"""Tells copies of a photo from other photos, by their pixels: saved anew, resized, cropped, turned, written over.

Vectors find candidates, but two photos of one scene are as near as two copies, so candidates are laid over each other:
see `ml.images.overlay`. Of what overlaps, small blocks are correlated. Those of a copy agree one by one, save where
something was put over them; those of another photo of the same things do not. Constants: benchmarks/copies.py.
"""

import numpy as np
from PIL import Image

from ml.images.likeness import COPY_FROM, NEAR_COPY, SAME_IMAGE, Likeness
from ml.images.overlay import Placed, overlays
from ml.images.shape import Shape

_BLOCK_PX = 12
_FEWEST_BLOCKS = 8
_FLAT = 3.0  # grey levels: blocks that vary less say nothing
_GAINED = 0.2  # of the score, from half the size to the full one; no copy gained more than 0.08
_PARTS = 8  # of each side, whose mean colours are compared
_SAME_COLOUR = 12.0  # levels of 255, by which no part may differ


class Appearance:
    """What is compared of an image: 13 kB of it. A thumbnail of 256 pixels shows enough.

    Args:
        image: in any mode.
    """

    def __init__(self, image: Image.Image) -> None:
        self.shape = Shape(image.convert("L"))
        small = image.convert("RGB").resize((_PARTS, _PARTS), Image.Resampling.BOX)
        self.colours = np.asarray(small, np.float32)  # [8, 8, 3], means over the parts of a grid


def compare(first: Appearance, second: Appearance, *, score_from: float = COPY_FROM) -> Likeness | None:
    """How two images are copies of one photo; None when they are not.

    Args:
        first: the one.
        second: the other.
        score_from: what the one must score when it is laid over the other.
    """

    def is_promising(placed: Placed) -> bool:
        blocks = placed.blocks(_BLOCK_PX // 2, _FLAT)
        return len(blocks) < _FEWEST_BLOCKS or float(np.median(blocks)) >= score_from - _GAINED

    for placed in overlays(first.shape, second.shape, is_promising):
        if (score := _score(placed)) >= score_from:
            tier = SAME_IMAGE if _is_same_image(first, second, placed) else NEAR_COPY
            return Likeness(tier, round(min(score, 1.0), 4))
    return None


def _score(placed: Placed) -> float:
    """The median correlation of blocks: up to half of the photo may be covered."""
    blocks = placed.blocks(_BLOCK_PX, _FLAT)
    return float(np.median(blocks)) if len(blocks) >= _FEWEST_BLOCKS else 0.0


def _is_same_image(first: Appearance, second: Appearance, placed: Placed) -> bool:
    """Whether nothing was cropped, turned, covered or coloured."""
    is_same_coloured = bool(np.abs(first.colours - second.colours).max() <= _SAME_COLOUR)
    return placed.is_in_place and is_same_coloured
