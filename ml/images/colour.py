"""Embedded colour profiles: what a wide-gamut photo looks like on an ordinary screen (sRGB).

Runs on images that are already reduced, so that a profile costs a few milliseconds at most; one that is sRGB anyway is
recognized by what it does to a few hundred colours, once. A profile that is broken, of another kind of image, or that
makes white dark is ignored, as browsers do.
"""

import functools
import io
import itertools

import numpy as np
from PIL import Image, ImageCms

_SRGB = ImageCms.createProfile("sRGB")
_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}  # mode -> what a profile calls its colours
_SAME = 3  # levels of 255 that copies of the sRGB profile differ by
_DARKEST_WHITE, _LIGHTEST_BLACK = 200, 100


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """The image in sRGB: mode RGB where the profile was applied, else the image as it came.

    Args:
        image: mode L, RGB or CMYK.
        profile: an ICC profile's bytes.
    """
    if not profile or image.mode not in _SPACES:
        return image
    transform = _transform(profile, image.mode)
    return image if transform is None else ImageCms.applyTransform(image, transform) or image


@functools.lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """What takes pixels of a mode to sRGB; None where nothing is to be done."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != _SPACES[mode]:
            return None
        intent = ImageCms.Intent(ImageCms.getDefaultIntent(source))
        if intent == ImageCms.Intent.ABSOLUTE_COLORIMETRIC:  # would show the paper's colour
            intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        transform = ImageCms.buildTransform(source, _SRGB, mode, "RGB", intent)
        before = _samples(mode)
        after = np.asarray(ImageCms.applyTransform(before, transform))[0].astype(int)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError):
        return None
    black, white = (after[-1], after[0]) if mode == "CMYK" else (after[0], after[-1])
    if white.min() < _DARKEST_WHITE or black.max() > _LIGHTEST_BLACK:
        return None
    if mode != "CMYK" and np.abs(after - np.asarray(before.convert("RGB"))[0]).max() <= _SAME:
        return None
    return transform


def _samples(mode: str) -> Image.Image:
    """Colours from all over the cube, in one row: the first all 0, the last all 255."""
    channels = len(Image.getmodebands(mode) * "x")
    steps = range(0, 256, 17) if channels == 1 else range(0, 256, 51) if channels == 3 else range(0, 256, 85)
    colours = np.array(list(itertools.product(steps, repeat=channels)), np.uint8)
    return Image.frombytes(mode, (len(colours), 1), colours.tobytes())
