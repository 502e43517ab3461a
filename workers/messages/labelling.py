"""Help with labels: proposals for images that have none, and images whose label may be wrong."""

from dataclasses import dataclass

from workers.messages.base import Message
from workers.messages.images import GalleryImage


@dataclass(frozen=True)
class Proposal(Message):
    """Images without a label that belong together, and the label that their neighbours suggest, None for no idea.

    `share` is that of the neighbours' votes that the label has, in [0, 1].
    """

    label: str | None
    share: float
    images: tuple[GalleryImage, ...]


@dataclass(frozen=True)
class Proposals(Message):
    """Groups of images without a label, what teaches most first.

    `total` counts all such images, `count` all groups that were made, also those that were not asked for.
    """

    groups: tuple[Proposal, ...]
    total: int
    count: int = 0


@dataclass(frozen=True)
class Outlier(Message):
    """An image whose label may be wrong.

    `similarity` is the mean cosine to the most similar images of its label; `like` the label that most of its
    neighbours have, None when it is merely far from the others.
    """

    image: GalleryImage
    similarity: float
    like: str | None


@dataclass(frozen=True)
class Outliers(Message):
    """What of a label's images looks out of place, the most doubtful first; `count` is how many images it has."""

    label: str
    count: int
    outliers: tuple[Outlier, ...]
