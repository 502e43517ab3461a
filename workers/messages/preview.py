"""What publishing a model would change: two models' answers to the same queries, side by side."""

from dataclasses import dataclass

from workers.messages.base import Message


@dataclass(frozen=True)
class SavedQuery(Message):
    """A query that a person keeps; its id is its image's. `is_photo`: that is no image of the gallery."""

    id: str
    name: str
    at: float
    is_photo: bool = False


@dataclass(frozen=True)
class PreviewedHit(Message):
    """An answer of one of two models. `other_rank` is its rank with the other model, None where it is not shown.

    `change` is same, moved, gained (only the new model shows it) or lost (only the old one does). `is_right` is what a
    person said of it, or whether the labels are the same; None when neither is known.
    """

    id: str
    path: str
    label: str | None
    similarity: float
    rank: int
    other_rank: int | None
    change: str
    is_right: bool | None


@dataclass(frozen=True)
class PreviewedQuery(Message):
    """What the active model answers to a query (`before`), and what the one that is to be published does (`after`).

    `source` is saved, photo (saved, and no image of the gallery), answered (somebody said of it what is the same) or
    drawn.
    """

    id: str
    name: str
    source: str
    label: str | None
    before: tuple[PreviewedHit, ...]
    after: tuple[PreviewedHit, ...]
    right_before: int
    right_after: int

    def count(self, change: str) -> int:
        """How many answers changed in this way."""
        return sum(hit.change == change for hit in (self.before if change == "lost" else self.after))
