"""Indexed folders, what became of each file, and where a missed photo is."""

from dataclasses import dataclass

from workers.messages.base import Message
from workers.messages.jobs import Failure


@dataclass(frozen=True)
class FolderCoverage(Message):
    """What was found in a folder of the machine `host` when it was last looked at, in seconds since 1970.

    On the disk are `indexed` + `failed` + `waiting` + `skipped` files. `same` of those indexed hold a photo that goes
    by another file's path. `failures` and `skips` name the first 1,000 of their kind. `is_complete` is False while the
    `job` runs, and after one that was cut short.
    """

    folder: str
    host: str
    at: float
    is_watched: bool = False
    job: str | None = None
    is_complete: bool = True
    indexed: int = 0
    same: int = 0
    failed: int = 0
    waiting: int = 0
    skipped: int = 0
    failures: tuple[Failure, ...] = ()
    skips: tuple[Failure, ...] = ()

    @property
    def on_disk(self) -> int:
        """Every file that was found."""
        return self.indexed + self.failed + self.waiting + self.skipped


@dataclass(frozen=True)
class Whereabouts(Message):
    """Where a photo is that somebody misses.

    `answer` is here, damaged, trash, unreadable, failed, skipped, alike or unknown; `told` says it in words, `next`
    what to do. `id` and `path` are of the image that the answer is about, `path` also of a file that was left out.
    """

    answer: str
    told: str
    next: str = ""
    id: str | None = None
    path: str | None = None
