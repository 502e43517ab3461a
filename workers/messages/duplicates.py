"""Copies of photos."""

from dataclasses import dataclass

from workers.messages.base import Message
from workers.messages.images import GalleryImage


@dataclass(frozen=True)
class Pair(Message):
    """Two images of one photo. `similarity` is the cosine of their vectors.

    `tier` and `score` are of ml.images.likeness.Likeness.
    """

    id: str
    other_id: str
    path: str
    other_path: str
    similarity: float
    tier: str = "near-copy"
    score: float = 0.0


@dataclass(frozen=True)
class Copy(Message):
    """An image that is a copy of another one. `tier` and `score` as of a Pair."""

    image: GalleryImage
    tier: str
    score: float


@dataclass(frozen=True)
class CopyGroup(Message):
    """An image that is worth keeping, and copies of it. `tier` is that of the copy that is least like it."""

    best: GalleryImage
    copies: tuple[Copy, ...]
    tier: str
