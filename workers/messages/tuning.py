"""What chunks of a `tune` job hand on to the one that fits a head."""

from dataclasses import dataclass

from workers.messages.base import Message


@dataclass(frozen=True)
class VariedImage(Message):
    """An image's vector and what its views differ from it by, packed by workers.tasks.tuning. `tune` learns from it."""

    id: str
    vector: str
    differences: str


@dataclass(frozen=True)
class AlikePair(Message):
    """Two images that `tune` takes to show the same thing, and by what their vectors differ, packed as above."""

    one: str
    other: str
    difference: str
