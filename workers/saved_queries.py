"""Queries that a person keeps, to see what a new model would answer to them before it is published.

queries/<id>.json    its name, and when it was kept; the id is its image's
queries/<id>.photo   the photo, of a query that is no image of the gallery
"""

import time
from dataclasses import dataclass
from pathlib import PurePath

from ml import records
from ml.records import Damaged, Moment, Text
from ml.storage import Storage
from workers.errors import NotFound
from workers.gallery.metadata import is_id
from workers.gallery.originals import image_id
from workers.messages import SavedQuery


@dataclass(frozen=True)
class _Record:
    id: str
    name: Text
    at: Moment
    is_photo: bool


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
        for key in self._storage.keys("queries"):
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
        """Keeps a query no longer. Raises NotFound."""
        if not is_id(id) or not self._storage.exists(_key(id)):
            _missing(id)
        self._storage.delete(_key(id))
        self._storage.delete(_photo(id))

    def _write(self, query: SavedQuery) -> SavedQuery:
        records.write(self._storage, _key(query.id), query.to_json())
        return query


def _missing(id: str) -> bytes:
    raise NotFound(f"there is no saved query {id}", hint="it may have been removed")


def _parsed(record: object) -> SavedQuery:
    facts = records.typed(_Record, record)
    records.check_text(facts.name)
    return SavedQuery(facts.id, facts.name, facts.at, facts.is_photo)


def _key(id: str) -> str:
    return f"queries/{id}.json"


def _photo(id: str) -> str:
    return f"queries/{id}.photo"
