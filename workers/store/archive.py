"""Points in plain files: what a backup keeps of a collection, whatever the engine.

<root>/collections/<name>/collection.json      its dimension
<root>/collections/<name>/<prefix>.safetensors  vectors, float32 [n, d], of the points whose ids start so
<root>/collections/<name>/<prefix>.json         their ids and payloads, in the same order
"""

import json
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ml import records
from ml.storage import Storage
from workers.store import Payload, Point


class Archive:
    """Collections as files in some storage, a 256th of each in a file."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def collections(self) -> list[str]:
        found = (PurePath(key) for key in self._storage.keys("collections"))
        return sorted({path.parent.name for path in found if path.name == "collection.json"})

    def ensure(self, collection: str, dim: int) -> None:
        self._storage.put(f"collections/{collection}/collection.json", json.dumps({"dim": dim}).encode())

    def drop(self, collection: str) -> None:
        """Removes a collection; one that does not exist is no error."""
        for key in list(self._storage.keys(f"collections/{collection}")):
            self._storage.delete(key)

    def dim(self, collection: str) -> int:
        return records.read(self._storage, f"collections/{collection}/collection.json", lambda facts: int(facts["dim"]))

    def write(self, collection: str, prefix: str, points: Sequence[Point]) -> None:
        """Replaces the points of a prefix."""
        key = f"collections/{collection}/{prefix}"
        if not points:
            self._storage.delete(f"{key}.json")
            self._storage.delete(f"{key}.safetensors")
            return
        self._storage.put(f"{key}.safetensors", save({"vectors": np.stack([point.vector for point in points])}))
        rows = [{"id": point.id, **point.payload.to_json()} for point in points]
        self._storage.put(f"{key}.json", json.dumps(rows, ensure_ascii=False).encode())

    def read(self, collection: str, prefix: str) -> list[Point]:
        """The points of a prefix, in order of their ids."""
        key = f"collections/{collection}/{prefix}"
        try:
            return records.read(self._storage, f"{key}.json", lambda rows: self._points(f"{key}.safetensors", rows))
        except FileNotFoundError:
            return []

    def _points(self, key: str, rows: list[dict[str, Any]]) -> list[Point]:
        try:
            vectors = load(self._storage.get(key))["vectors"]
        except (FileNotFoundError, SafetensorError) as error:
            raise ValueError(f"its vectors cannot be read: {error}") from error
        return [Point(row["id"], vector, Payload.from_json(row)) for row, vector in zip(rows, vectors, strict=True)]
