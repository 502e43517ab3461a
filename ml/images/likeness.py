"""What is said of two images that are copies of one photo; `ml.images.copies` finds out."""

from dataclasses import dataclass

SAME_IMAGE = "same-image"
NEAR_COPY = "near-copy"
COPY_FROM = 0.955  # the score of a copy


@dataclass(frozen=True)
class Likeness:
    """How two images are copies: `tier` is same-image (saved anew, resized) or near-copy; `score` is at most 1."""

    tier: str
    score: float
