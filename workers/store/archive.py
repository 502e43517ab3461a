"""Points in plain files: what a backup keeps of a collection, whatever the engine.

<root>/collections/<name>/collection.json      its dimension
<root>/collections/<name>/<prefix>.safetensors  vectors, float32 [n, d], of the points whose ids start so
<root>/collections/<name>/<prefix>.json         their ids and payloads, in the same order
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from safetensors.numpy import save

from ml import records, tensors
from ml.names import BadName, CollectionName
from ml.records import Count, Damaged, Text
from ml.storage import Storage
from workers.store import Payload, Point


@dataclass(frozen=True)
class _Facts:
    """What collection.json holds."""

    dim: Annotated[int, Meta(ge=1, le=65_536)]


@dataclass(frozen=True)
class _Row:
    """A point but for its vector."""

    id: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
    path: Text
    label: Text | None = None
    newest: Count = 0
    taken: Annotated[int, Meta(ge=-(2**53), le=2**53)] | None = None


class Archive:
    """Collections as files in some storage, a 256th of each in a file."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def collections(self) -> list[str]:
        """Names of the collections. Raises Damaged when a folder has a name that none can have."""
        found = (PurePath(key) for key in self._storage.keys("collections"))
        try:
            return sorted({CollectionName(path.parent.name) for path in found if path.name == "collection.json"})
        except BadName as error:
            raise Damaged(f"the archive is damaged: {error.message}", hint="make a new backup") from None

    def ensure(self, collection: str, dim: int) -> None:
        self._storage.put(f"{_folder(collection)}/collection.json", json.dumps({"dim": dim}).encode())

    def drop(self, collection: str) -> None:
        """Removes a collection; one that does not exist is no error."""
        for key in list(self._storage.keys(_folder(collection))):
            self._storage.delete(key)

    def dim(self, collection: str) -> int:
        """Length of its vectors. Raises Damaged."""
        key = f"{_folder(collection)}/collection.json"
        return records.read(self._storage, key, lambda facts: records.typed(_Facts, facts).dim)

    def write(self, collection: str, prefix: str, points: Sequence[Point]) -> None:
        """Replaces the points of a prefix."""
        key = f"{_folder(collection)}/{prefix}"
        if not points:
            self._storage.delete(f"{key}.json")
            self._storage.delete(f"{key}.safetensors")
            return
        self._storage.put(f"{key}.safetensors", save({"vectors": np.stack([point.vector for point in points])}))
        rows = [{"id": point.id, **point.payload.to_json()} for point in points]
        self._storage.put(f"{key}.json", json.dumps(rows, ensure_ascii=False).encode())

    def read(self, collection: str, prefix: str) -> list[Point]:
        """The points of a prefix, in order of their ids. Raises Damaged."""
        key, dim = f"{_folder(collection)}/{prefix}", self.dim(collection)
        try:
            return records.read(
                self._storage, f"{key}.json", lambda rows: self._points(f"{key}.safetensors", prefix, dim, rows)
            )
        except FileNotFoundError:
            return []

    def _points(self, key: str, prefix: str, dim: int, content: Any) -> list[Point]:
        rows = records.typed(list[_Row], content)
        if any(not row.id.startswith(prefix) for row in rows) or len({row.id for row in rows}) < len(rows):
            raise ValueError(f"its ids are not different ones that begin with {prefix}")
        for row in rows:
            records.check_text(row.path, row.label)
        try:
            data = self._storage.get(key)
        except FileNotFoundError:
            raise ValueError("its vectors are missing") from None
        vectors = tensors.loads(data, {"vectors": tensors.Expected("float32", (len(rows), dim))})["vectors"]
        payloads = [Payload(row.path, row.label, row.newest, row.taken) for row in rows]
        return [Point(row.id, *each) for row, *each in zip(rows, vectors, payloads, strict=True)]


def _folder(collection: str) -> str:
    return f"collections/{CollectionName(collection)}"
