"""Queries that a person keeps, to see what a new model would answer to them before it is published.

queries/<id>.json    its name, and when it was kept; the id is its image's
queries/<id>.photo   the photo, of a query that is no image of the gallery
queries-removed/     both, of queries that were removed within the last day, so that this can be undone
"""

import contextlib
import time
from dataclasses import dataclass
from pathlib import PurePath

from ml import records
from ml.records import Damaged, Moment, Text
from ml.storage import Storage
from workers.errors import NotFound
from workers.gallery.image_records import is_id
from workers.gallery.originals import image_id
from workers.messages import SavedQuery

FOLDER = "queries"
REMOVED = "queries-removed"
_KEPT_S = 24 * 3600.0  # as long as a change can be undone


@dataclass(frozen=True)
class _Record:
    id: str
    name: Text
    at: Moment
    is_photo: bool


@dataclass(frozen=True)
class _Removed(_Record):
    removed_at: Moment


class SavedQueries:
    """The queries in storage. Safe to use from many threads and processes."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def keep_image(self, id: str, name: str) -> SavedQuery:
        """Keeps an image of the gallery as a query."""
        return self._write(SavedQuery(id, name, time.time(), is_photo=False))

    def keep_photo(self, data: bytes, name: str) -> SavedQuery:
        """Keeps a photo that is not in the gallery as a query."""
        query = SavedQuery(image_id(data), name, time.time(), is_photo=True)
        self._storage.put(_photo(query.id), data)
        return self._write(query)

    def all(self) -> list[SavedQuery]:
        """The queries, the latest first; damaged records are passed over."""
        found = []
        for key in self._storage.keys(FOLDER):
            if key.endswith(".json") and is_id(PurePath(key).stem):
                try:
                    found.append(records.read(self._storage, key, _parsed))
                except (Damaged, FileNotFoundError):
                    continue
        return sorted(found, key=lambda query: -query.at)

    def photo(self, id: str) -> bytes:
        """The photo of a query that is no image of the gallery. Raises NotFound."""
        try:
            return self._storage.get(_photo(id)) if is_id(id) else _missing(id)
        except FileNotFoundError:
            return _missing(id)

    def forget(self, id: str) -> None:
        """Keeps a query no longer; for a day it can be restored. Raises NotFound."""
        try:
            query = records.read(self._storage, _key(id), _parsed) if is_id(id) else None
        except FileNotFoundError:
            query = None
        except Damaged:
            query = SavedQuery(id, id, 0.0, is_photo=False)
        if query is None:
            _missing(id)
            return
        self._expire()
        if query.is_photo:
            with contextlib.suppress(FileNotFoundError):
                self._storage.put(_photo(id, REMOVED), self._storage.get(_photo(id)))
        records.write(self._storage, _key(id, REMOVED), query.to_json() | {"removed_at": time.time()})
        self._storage.delete(_key(id))
        self._storage.delete(_photo(id))

    def restore(self, id: str) -> SavedQuery:
        """Brings back a query that was removed. Raises NotFound when that is too long ago."""
        try:
            query = records.read(self._storage, _key(id, REMOVED), _removed)[0] if is_id(id) else None
        except (Damaged, FileNotFoundError):
            query = None
        if query is None:
            raise NotFound(f"there is no saved query {id} to bring back", hint="save it anew")
        if query.is_photo and not self._storage.exists(_photo(id)):
            self._storage.put(_photo(id), self._storage.get(_photo(id, REMOVED)))
        self._write(query)
        self._drop(id)
        return query

    def take(self, key: str, data: bytes) -> None:
        """Takes a file of another copy of the queries: of two records of one query the later one stays.

        Raises:
            Damaged: it is no file of a saved query.
        """
        id, ending = PurePath(key).stem, PurePath(key).suffix
        if ending == ".photo" and image_id(data) == id:
            if not self._storage.exists(_photo(id)):
                self._storage.put(_photo(id), data)
            return
        query = records.decoded(data, _parsed, name=key)
        if key != _key(query.id):
            raise Damaged(f"{key} is damaged: it is not that query's", key=key)
        records.keep_later(self._storage, key, data, _parsed, lambda kept: kept.at)

    def _expire(self) -> None:
        """Drops for good what was removed too long ago."""
        for key in list(self._storage.keys(REMOVED)):
            id = PurePath(key).stem
            if not key.endswith(".json"):
                continue
            try:
                at = records.read(self._storage, key, _removed)[1]
            except FileNotFoundError:
                continue
            except Damaged:
                at = 0.0
            if at < time.time() - _KEPT_S:
                self._drop(id)

    def _drop(self, id: str) -> None:
        self._storage.delete(_key(id, REMOVED))
        self._storage.delete(_photo(id, REMOVED))

    def _write(self, query: SavedQuery) -> SavedQuery:
        records.write(self._storage, _key(query.id), query.to_json())
        return query


def _missing(id: str) -> bytes:
    raise NotFound(f"there is no saved query {id}", hint="it may have been removed")


def _parsed(record: object) -> SavedQuery:
    facts = records.typed(_Record, record)
    if not is_id(facts.id):
        raise ValueError("its id is none")
    records.check_text(facts.name)
    return SavedQuery(facts.id, facts.name, facts.at, facts.is_photo)


def _removed(record: object) -> tuple[SavedQuery, float]:
    """A query, and when it was removed."""
    facts = records.typed(_Removed, record)
    return _parsed({name: value for name, value in dict(record).items() if name != "removed_at"}), facts.removed_at  # type: ignore[call-overload]


def _key(id: str, folder: str = FOLDER) -> str:
    return f"{folder}/{id}.json"


def _photo(id: str, folder: str = FOLDER) -> str:
    return f"{folder}/{id}.photo"
