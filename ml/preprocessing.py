"""From an image to the pixels that a model sees: the one place where that is decided.

Training, evaluation, indexing and search all call `Preprocessing.apply`, with the values that the model's bundle holds.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from ml import records
from ml.errors import BadBundle

DECODED_PX = 320

_INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_FITS = ("crop", "squash", "pad")


@dataclass(frozen=True)
class Preprocessing:
    """From an image to the pixels that the model sees. Every field is stored; none has a silent default.

    Args:
        size_px: side of the square that the model sees.
        resize_px: what the fitted side is scaled to before the middle `size_px` are taken; `size_px` keeps all.
        fit: "crop" scales the short side and takes the middle square, "squash" scales both sides to the square,
            "pad" scales the long side and fills up with the mean colour.
        interpolation: bilinear, bicubic or lanczos; always with the support of a proper reduction.
        mean: of red, green and blue in 0..1, subtracted in the model.
        std: of red, green and blue in 0..1, divided by in the model.
        mirror: the model averages the image with its mirror image.
    """

    size_px: int
    resize_px: int
    fit: str
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    mirror: bool

    def __post_init__(self) -> None:
        if not 8 <= self.size_px <= self.resize_px <= 4096:
            raise BadBundle(
                f"preprocessing must have 8 <= size_px <= resize_px <= 4096, got {self.size_px} and {self.resize_px}"
            )
        for name, allowed in (("fit", _FITS), ("interpolation", tuple(_INTERPOLATIONS))):
            if getattr(self, name) not in allowed:
                raise BadBundle(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise BadBundle(f"mean and std must be three numbers each and std > 0, got {self.mean} and {self.std}")

    @property
    def min_side(self) -> int:
        """Short side, in pixels, that `images.decode` has to leave for `apply` to lose nothing.

        At least that of a thumbnail: the vector must not depend on whether the same decoding also serves for one.
        """
        return max(self.resize_px, DECODED_PX)

    def apply(self, image: Image.Image) -> np.ndarray:
        """Scales and cuts an image.

        Args:
            image: mode RGB, any size.

        Returns:
            uint8 [size_px, size_px, 3]. Mean and std are applied inside the model.
        """
        size, resample = self.size_px, _INTERPOLATIONS[self.interpolation]
        width, height = image.size
        share = size / self.resize_px
        # The cut is made in the source's coordinates, so that an image of 4000 x 8 pixels is never blown up whole.
        short = min(width, height)
        cut_x, cut_y = (share * short, share * short) if self.fit == "crop" else (share * width, share * height)
        left, top = (width - cut_x) / 2, (height - cut_y) / 2
        box = (left, top, left + cut_x, top + cut_y)
        if self.fit != "pad":
            return np.asarray(image.resize((size, size), resample, box, reducing_gap=2.0))
        scale = size / max(cut_x, cut_y)
        fitted = (max(1, round(cut_x * scale)), max(1, round(cut_y * scale)))
        square = Image.new("RGB", (size, size), tuple(round(255 * channel) for channel in self.mean))
        place = ((size - fitted[0]) // 2, (size - fitted[1]) // 2)
        square.paste(image.resize(fitted, resample, box, reducing_gap=2.0), place)
        return np.asarray(square)

    def to_json(self) -> dict[str, Any]:
        """A dict of plain JSON types."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Preprocessing":
        """The inverse of `to_json`.

        Raises:
            BadBundle: a field is missing, unknown or senseless. There are no defaults.
        """
        names = {f.name for f in dataclasses.fields(cls)}
        missing, unknown = sorted(names - set(data)), sorted(set(data) - names)
        if missing or unknown:
            what = f"lacks {missing[0]}" if missing else f"has an unknown field {unknown[0]}"
            raise BadBundle(f"the preprocessing of the model {what}", hint="export the model again")
        values = dict(data)
        try:
            return records.typed(cls, values)
        except ValueError as error:
            raise BadBundle(f"the preprocessing of the model makes no sense: {error}") from error
