"""A part of an image: what somebody has drawn a box around."""

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass

from PIL import Image

from ml.images.accepted import BadBox

LEAST_PX = 8
_SLACK = 1e-6  # of numbers that were rounded on their way


@dataclass(frozen=True)
class Box:
    """A rectangle of an upright image, in shares of its width and height, so that it holds at every size."""

    left: float
    top: float
    width: float
    height: float

    @classmethod
    def of(cls, numbers: Sequence[float], size: tuple[int, int]) -> "Box":
        """The box that somebody names.

        Args:
            numbers: left, top, width and height: shares when none of them is above 1, else pixels.
            size: width and height of the upright image, in pixels.

        Raises:
            BadBox: they are not four numbers, lie outside the image, or name less than 8 x 8 pixels of it.
        """
        hint = "give left, top, width and height: shares of the upright photo up to 1, or pixels"
        shown = ",".join(f"{number:g}" for number in numbers)
        if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
            raise BadBox(f"a box must be four numbers, got {shown}", hint=hint)
        if max(numbers) > 1:
            numbers = [number / size[n % 2] for n, number in enumerate(numbers)]
        left, top, width, height = numbers
        if min(left, top) < 0 or max(left + width, top + height) > 1 + _SLACK:
            raise BadBox(f"a box must lie within the photo of {size[0]} x {size[1]} pixels, got {shown}", hint=hint)
        least = [min(1.0, LEAST_PX / side) - _SLACK for side in size]
        if width < least[0] or height < least[1]:
            raise BadBox(f"a box must hold at least {LEAST_PX} x {LEAST_PX} pixels, got {shown}", hint=hint)
        return cls(left, top, min(width, 1 - left), min(height, 1 - top))

    @property
    def shares(self) -> tuple[float, float, float, float]:
        """Left, top, width and height."""
        left, top, width, height = astuple(self)
        return left, top, width, height

    def min_side(self, wanted: int) -> int:
        """Short side that the whole image needs for the short side of this part to have `wanted` pixels."""
        return math.ceil(wanted / min(self.width, self.height))

    def cut(self, image: Image.Image) -> Image.Image:
        """This part of an image, at least one pixel of it."""
        left = min(int(self.left * image.width), image.width - 1)
        top = min(int(self.top * image.height), image.height - 1)
        right = max(left + 1, round((self.left + self.width) * image.width))
        bottom = max(top + 1, round((self.top + self.height) * image.height))
        return image.crop((left, top, min(right, image.width), min(bottom, image.height)))
