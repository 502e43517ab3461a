"""What an image's header says, in the terms of every format."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Header:
    """Facts of the first image of a file.

    Args:
        format: one of `FORMATS`.
        width: of the upright image where the decoder turns it, else as stored; pixels.
        height: likewise.
        orientation: how EXIF says that what the decoder gives has to be turned, 1 (not at all) to 8.
        taken_at: when EXIF says that the photo was taken: see ifd.taken_at.
    """

    format: str
    width: int
    height: int
    orientation: int = 1
    taken_at: float | None = None

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height of the image as it is shown."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


Reader = Callable[[bytes], Header]
