"""Records about images in storage, one file each, found by the image's id.

Ids come from outside and become part of a path: what is no id names no record.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from ml import records
from ml.storage import Storage

T = TypeVar("T")

_ID = re.compile("[0-9a-f]{32}")


def is_id(id: str) -> bool:
    """Whether it is 32 hex digits, as ids of images are."""
    return _ID.fullmatch(id) is not None


def record_key(folder: str, id: str) -> str:
    """Of an image's record in a folder of storage."""
    return f"{folder}/{id[:2]}/{id}.json"


class ImageRecords(Generic[T]):
    """The records in one folder of storage, as <folder>/ab/<id>.json.

    Args:
        storage: where they are kept.
        folder: of these records.
        parse: makes of an id and plain JSON types what is known of the image. It raises ValueError for what is none.
    """

    def __init__(self, storage: Storage, folder: str, parse: Callable[[str, Any], T]) -> None:
        self._storage = storage
        self._folder = folder
        self._parse = parse

    def load(self, id: str) -> T | None:
        """What is known of an image, None when no record of it is here. Raises Damaged."""
        if not is_id(id):
            return None
        try:
            return records.read(self._storage, record_key(self._folder, id), lambda record: self._parse(id, record))
        except FileNotFoundError:
            return None

    def put(self, id: str, record: dict[str, Any]) -> None:
        """Writes or replaces an image's record, of plain JSON types."""
        records.write(self._storage, record_key(self._folder, id), record)

    def exists(self, id: str) -> bool:
        return is_id(id) and self._storage.exists(record_key(self._folder, id))

    def delete(self, id: str) -> None:
        self._storage.delete(record_key(self._folder, id))

    def ids(self, prefix: str = "") -> Iterator[str]:
        """Of every record, in order; only those whose first two digits are `prefix`, if given."""
        for name in self._storage.keys(f"{self._folder}/{prefix}".rstrip("/")):
            if is_id(id := name.rpartition("/")[2].removesuffix(".json")):
                yield id
