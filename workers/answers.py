"""What people said of two images: the same, or not the same. Kept by content, so that no change of models loses it.

answers/ab/pairs.json    every answer about a pair with an image whose id starts with these two digits
apart/ab/pairs.json      likewise which pairs are no duplicates: both stay, whatever they show

A pair stands in the files of both its images: one file says all about an image, and a damaged one is made anew from the
others. An answer that was taken back stays as one without a verdict: of two copies of a file the later answer counts.
"""

import contextlib
import logging
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Annotated, Any

from msgspec import Meta

from ml import records
from ml.records import Damaged, Moment
from ml.storage import Hold, Storage, lock_between
from workers.gallery.image_records import is_id

logger = logging.getLogger(__name__)

FOLDER = "answers"
APART = "apart"
FOLDERS = (FOLDER, APART)
_ID = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]


@dataclass(frozen=True)
class Answer:
    """About images `one` and `other`, in order of ids. `is_same` is None when it was taken back."""

    one: _ID
    other: _ID
    is_same: bool | None
    at: Moment

    @property
    def pair(self) -> tuple[str, str]:
        return self.one, self.other


class Answers:
    """The answers in storage. Safe to use from many threads and processes.

    Args:
        storage: where they are kept.
        hold: locks a key between processes, for storage whose own locks hold within one.
        folder: which of `FOLDERS`.
    """

    def __init__(self, storage: Storage, hold: Hold | None = None, folder: str = FOLDER) -> None:
        self._storage = storage
        self._folder = folder
        self._lock_key = lock_between(storage, hold)

    def give(self, one: str, other: str, is_same: bool | None) -> Answer:
        """Notes an answer in place of any that was given before; None takes it back.

        Raises:
            ValueError: they are no ids, or the same one.
        """
        return self.give_all([(one, other)], is_same)[0]

    def give_all(self, pairs: Iterable[tuple[str, str]], is_same: bool | None) -> list[Answer]:
        """The same about many pairs: each file is written once.

        Raises:
            ValueError: two are no ids, or the same one. Nothing is noted.
        """
        now = time.time()
        answers = []
        by_prefix: dict[str, dict[tuple[str, str], Answer]] = {}
        for pair in pairs:
            one, other = sorted(pair)
            if not is_pair(one, other):
                raise ValueError("an answer must be about two images")
            answers.append(answer := Answer(one, other, is_same, now))
            for prefix in (one[:2], other[:2]):
                by_prefix.setdefault(prefix, {})[answer.pair] = answer
        for prefix, given in sorted(by_prefix.items()):
            with self._lock(prefix):
                self._write(prefix, self._read(prefix) | given)
        return answers

    def about(self, id: str) -> dict[str, bool]:
        """The other image -> whether it shows the same."""
        if not is_id(id):
            return {}
        answers = self._read(id[:2]).values()
        found = {(each.other if each.one == id else each.one): each for each in answers if id in each.pair}
        return {other: each.is_same for other, each in found.items() if each.is_same is not None}

    def all(self) -> list[Answer]:
        """Those that hold, the first given first."""
        found: dict[tuple[str, str], Answer] = {}
        for key in self._storage.keys(self._folder):
            found |= self._read(PurePath(key).parent.name)
        return sorted((each for each in found.values() if each.is_same is not None), key=lambda each: each.at)

    def count(self, since: float = 0.0) -> int:
        """How many hold that were given later than a moment, in seconds since 1970."""
        return sum(each.at > since for each in self.all())

    def take(self, key: str, others: Mapping[tuple[str, str], Answer]) -> None:
        """Takes answers of another copy of a file: of each pair the later one stays."""
        prefix = PurePath(key).parent.name
        with self._lock(prefix):
            known = self._read(prefix)
            later = {pair: each for pair, each in others.items() if pair not in known or known[pair].at < each.at}
            if later:
                self._write(prefix, known | later)

    def _read(self, prefix: str) -> dict[tuple[str, str], Answer]:
        try:
            return records.read(self._storage, key_of(prefix, self._folder), parsed)
        except FileNotFoundError:
            return {}
        except Damaged as damaged:
            found = self._elsewhere(prefix)
            logger.warning("%s; %d answers of it are in other files", damaged.message, len(found))
            return found

    def _elsewhere(self, prefix: str) -> dict[tuple[str, str], Answer]:
        """What other files say about images with this prefix."""
        found: dict[tuple[str, str], Answer] = {}
        for key in self._storage.keys(self._folder):
            if key != key_of(prefix, self._folder):
                with contextlib.suppress(Damaged, FileNotFoundError):
                    found |= records.read(self._storage, key, parsed)
        return {pair: answer for pair, answer in found.items() if prefix in (pair[0][:2], pair[1][:2])}

    def _write(self, prefix: str, answers: Mapping[tuple[str, str], Answer]) -> None:
        records.write(self._storage, key_of(prefix, self._folder), to_record(answers))

    def _lock(self, prefix: str) -> AbstractContextManager[None]:
        return self._lock_key(key_of(prefix, self._folder))


def is_pair(one: str, other: str) -> bool:
    """Whether they are the ids of two images."""
    return is_id(one) and is_id(other) and one != other


def key_of(prefix: str, folder: str = FOLDER) -> str:
    """Of the file in storage."""
    return f"{folder}/{prefix}/pairs.json"


def to_record(answers: Mapping[tuple[str, str], Answer]) -> dict[str, Any]:
    """What is written, as plain JSON types."""
    return {"answers": [asdict(answers[pair]) for pair in sorted(answers)]}


def parsed(record: Any) -> dict[tuple[str, str], Answer]:
    """The inverse of `to_record`. Raises ValueError for what is no such record."""
    answers = records.all_typed(Answer, record["answers"])
    if not all(each.one < each.other for each in answers):
        raise ValueError("an answer is not about two images in order")
    return {each.pair: each for each in answers}
