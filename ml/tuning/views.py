"""Views of an image that show the same thing by construction: parts of it, turned, tilted and mirrored.

What differs between an image and its views varies without meaning, and no guess is needed to know so: a head learns
from them in a gallery of any size (ml.tuning.gallery_head). Geometry alone: varied colours, blur and erased parts were
measured and made heads worse, since colour tells products apart. Pillow and NumPy.
"""

import math

import numpy as np
from PIL import Image

SMALLEST_AREA = 0.1  # of the image, that a view shows
_TURN = math.radians(20)
_TILT = 0.12  # how far a corner moves, in halves of a side
_RATIO = 0.2  # of the logarithm of width / height


def views(image: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draws views.

    Args:
        image: uint8 [s, s, 3], as it would enter the network.
        count: how many.
        seed: the same seed gives the same views.

    Returns:
        uint8 [count, s, s, 3].
    """
    dice = np.random.default_rng(seed)
    whole = Image.fromarray(image)
    size = whole.size
    drawn = (whole.transform(size, Image.Transform.QUAD, _corners(size[0], dice), _SMOOTH) for _ in range(count))
    return np.stack([np.asarray(view) for view in drawn])


_SMOOTH = Image.Resampling.BILINEAR


def _corners(side: int, dice: np.random.Generator) -> list[float]:
    """Of the part to show, in the order of Pillow's QUAD: upper left, lower left, lower right, upper right."""
    length = side * math.sqrt(dice.uniform(SMALLEST_AREA, 1))
    stretch = math.exp(dice.uniform(-_RATIO, _RATIO) / 2)
    half = np.array([length * stretch, length / stretch]) / 2
    corners = half * np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]])
    if dice.random() < 0.5:
        corners = corners[::-1]
    corners = corners * (1 + _TILT * dice.uniform(-1, 1, (4, 2)))
    angle = dice.uniform(-_TURN, _TURN)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    margin = np.minimum(half, side / 2)
    centre = dice.uniform(margin, side - margin)
    return [float(x) for x in (corners @ turn.T + centre).ravel()]
