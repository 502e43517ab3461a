"""What was found in each folder that was indexed or is watched, as records in storage: so that nobody has to wonder.

folders/<digest of host and path>.json    a messages.FolderCoverage

Every file on the disk is one of: indexed, left out because it could not be read, waiting, or skipped because it is
plainly no photo. Whoever indexes a folder writes its record at the beginning and at the end.
"""

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ml import records
from ml.names import JobName
from ml.records import Count, Damaged, Moment, Text
from ml.storage import Storage
from workers.messages import Failure, FolderCoverage

FOLDER = "folders"
LISTED = 1000  # files that a record names, of each kind


@dataclass(frozen=True)
class _Named:
    path: Text
    reason: Text


@dataclass(frozen=True)
class _Record:
    folder: Text
    host: Text
    at: Moment
    is_watched: bool
    job: JobName | None
    is_complete: bool
    indexed: Count
    same: Count
    failed: Count
    waiting: Count
    skipped: Count
    failures: list[_Named]
    skips: list[_Named]


class Coverage:
    """The records. Safe to use from many processes: the last one to write a folder's record is right."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def write(self, found: FolderCoverage) -> None:
        """Replaces what is known of a folder. Raises StorageFailed."""
        records.write(self._storage, _key(found.host, found.folder), found.to_json())

    def folders(self) -> Iterator[FolderCoverage]:
        """Every folder, in no order. Damaged records are passed over: indexing again writes them anew."""
        for key in self._storage.keys(FOLDER):
            try:
                yield records.read(self._storage, key, _parsed)
            except (Damaged, FileNotFoundError):
                continue

    def take(self, key: str, data: bytes) -> None:
        """Takes a file of another copy of the records: of two about one folder the later one stays.

        Raises:
            Damaged: it is no record of the folder that its key is made of.
        """
        found = records.decoded(data, _parsed, name=key)
        if key != _key(found.host, found.folder):
            raise Damaged(f"{key} is damaged: it is not that folder's", key=key)
        records.keep_later(self._storage, key, data, _parsed, lambda kept: kept.at)

    def forget(self, host: str, folder: str) -> bool:
        """Forgets a folder, not its photos. False when it was not known."""
        key = _key(host, folder)
        if not self._storage.exists(key):
            return False
        self._storage.delete(key)
        return True


def named(files: Iterable[tuple[str, str]]) -> tuple[Failure, ...]:
    """The first so many files, each with the reason, as a record holds them."""
    return tuple(Failure(path, reason) for path, reason in _first(files))


def begun(folder: str, host: str, job: str | None, *, is_watched: bool = False) -> FolderCoverage:
    """The record of a folder that is being read."""
    return FolderCoverage(folder=folder, host=host, at=time.time(), is_watched=is_watched, job=job, is_complete=False)


def _first(files: Iterable[tuple[str, str]]) -> Sequence[tuple[str, str]]:
    return sorted(files)[:LISTED]


def _parsed(record: Any) -> FolderCoverage:
    records.typed(_Record, record)
    found = FolderCoverage.from_json(record)
    named = [text for each in (*found.failures, *found.skips) for text in (each.path, each.reason)]
    records.check_text(found.folder, found.host, *named)
    return found


def _key(host: str, folder: str) -> str:
    digest = hashlib.sha256(f"{host}\0{folder}".encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return f"{FOLDER}/{digest}.json"
