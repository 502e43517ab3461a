"""What is to be done with an image's bytes: decode them, and make of the image what its receiver needs.

Scaling for the model and for the thumbnail happen where the image was decoded, so that little has to be passed on.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ml import images
from ml.images import Box, Limits
from ml.preprocessing import Preprocessing


@dataclass(frozen=True)
class Work:
    """What to make of an image.

    Args:
        preprocessing: makes the pixels that a model sees.
        thumbnail_px: longer side of a thumbnail; None for no thumbnail.
        limits: what is refused.
        box: the part of the image that is wanted; None for all of it.
    """

    preprocessing: Preprocessing
    thumbnail_px: int | None = None
    limits: Limits = field(default_factory=Limits)
    box: Box | None = None

    @property
    def min_side(self) -> int:
        """Pixels along the short side that decoding has to leave."""
        wanted = max(self.preprocessing.min_side, self.thumbnail_px or 0)
        return self.box.min_side(wanted) if self.box else wanted

    def to_json(self) -> dict[str, Any]:
        """A dict of plain JSON types."""
        limits = [self.limits.max_bytes, self.limits.max_pixels, self.limits.max_decode_s]
        return {
            "preprocessing": self.preprocessing.to_json(),
            "thumbnail_px": self.thumbnail_px,
            "limits": limits,
            "box": self.box.shares if self.box else None,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Work":
        """The inverse of `to_json`."""
        preprocessing, limits = Preprocessing.from_json(data["preprocessing"]), Limits(*data["limits"])
        return cls(preprocessing, data["thumbnail_px"], limits, Box(*data["box"]) if data["box"] else None)


@dataclass(frozen=True)
class Prepared:
    """What was made of an image: uint8 [size_px, size_px, 3], and a JPEG if one was asked for."""

    pixels: np.ndarray
    thumbnail: bytes = b""


def carry_out(data: bytes, work: Work) -> Prepared:
    """Does the work in this process. Raises UnreadableImage."""
    image = images.decode(data, min_side=work.min_side, limits=work.limits)
    image = work.box.cut(image) if work.box else image
    thumbnail = images.thumbnail(image, work.thumbnail_px) if work.thumbnail_px else b""
    return Prepared(work.preprocessing.apply(image), thumbnail)
