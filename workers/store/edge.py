"""Qdrant Edge: the real engine in this process, one folder a collection.

Exactly one process may own the folder (a lock says which). `optimize()` of Edge holds the interpreter for minutes, so
HNSW graphs are built by a child process on a copy (workers.store.optimize), and the copy then takes the shard's place.
"""

import fcntl
import json
import os
import shutil
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import qdrant_edge as edge

from workers.store import Hit, Payload, Point, Store, StoreBusy, Stored, StoreFailed

_PAGE = 1000


class EdgeStore(Store):
    """Collections below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock_file = _own(folder)
        self._guard = threading.Lock()
        self._shards: dict[str, Shard] = {}

    def ensure(self, collection: str, dim: int) -> None:
        with self._guard:
            path = self._folder / collection
            if collection not in self._shards:
                self._shards[collection] = Shard.load(path) if Shard.exists(path) else Shard.create(path, dim)
        known = self._shards[collection].dim
        if known != dim:
            raise StoreFailed(
                f"collection {collection} holds vectors of {known} numbers, not {dim}",
                hint="publish the model again: it makes a collection of its own",
            )

    def drop(self, collection: str) -> None:
        with self._guard:
            shard = self._shards.pop(collection, None)
            if shard is not None:
                shard.close()
            shutil.rmtree(self._folder / collection, ignore_errors=True)

    def collections(self) -> list[str]:
        return sorted(path.name for path in self._folder.iterdir() if Shard.exists(path))

    def upsert(self, collection: str, points: Sequence[Point]) -> None:
        made = [edge.Point(uuid.UUID(p.id), p.vector.tolist(), p.payload.to_json()) for p in points]
        self._shard(collection).update([edge.UpdateOperation.upsert_points(made)], [p.id for p in points])

    def set_payloads(self, collection: str, payloads: Mapping[str, Payload]) -> None:
        shard = self._shard(collection)
        present = list(self.fetch(collection, list(payloads)))
        overwrite = edge.UpdateOperation.overwrite_payload
        shard.update([overwrite([uuid.UUID(id)], payloads[id].to_json()) for id in present], present)

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        operation = edge.UpdateOperation.delete_points([uuid.UUID(id) for id in ids])
        self._shard(collection).update([operation], ids)

    def query(
        self, collection: str, vector: np.ndarray, limit: int, *, label: str | None = None, with_vectors: bool = False
    ) -> list[Hit]:
        request = edge.QueryRequest(
            limit=limit,
            query=edge.Query.Nearest(vector.tolist()),
            filter=_label_filter(label),
            with_payload=True,
            with_vector=with_vectors,
        )
        found = self._shard(collection).engine.query(request)
        return [Hit(_id(p.id), p.score, Payload.from_json(p.payload), _vector(p.vector)) for p in found]

    def fetch(self, collection: str, ids: Sequence[str], *, with_vectors: bool = False) -> dict[str, Stored]:
        records = self._shard(collection).engine.retrieve([uuid.UUID(id) for id in ids], True, with_vectors)
        return {_id(r.id): Stored(_id(r.id), Payload.from_json(r.payload), _vector(r.vector)) for r in records}

    def points(
        self, collection: str, *, label: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Iterator[Stored]:
        offset = uuid.UUID(int=min(uuid.UUID(after).int + 1, 2**128 - 1)) if after else None
        left = limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(left, _PAGE)
            request = edge.ScrollRequest(offset=offset, limit=size, filter=_label_filter(label), with_payload=True)
            records, offset = self._shard(collection).engine.scroll(request)
            for record in records:
                yield Stored(_id(record.id), Payload.from_json(record.payload))
            if offset is None:
                return
            left = None if left is None else left - len(records)

    def count(self, collection: str) -> int:
        return self._shard(collection).engine.count(edge.CountRequest(exact=True))

    def labels(self, collection: str) -> dict[str, int]:
        hits = self._shard(collection).engine.facet(edge.FacetRequest("label", limit=100_000, exact=True)).hits
        return {str(hit.value): hit.count for hit in sorted(hits, key=lambda hit: (-hit.count, str(hit.value)))}

    def close(self) -> None:
        with self._guard:
            for shard in self._shards.values():
                shard.close()
            self._shards.clear()
        self._lock_file.close()

    def _shard(self, collection: str) -> "Shard":
        shard = self._shards.get(collection)
        if shard is not None:
            return shard
        with self._guard:
            path = self._folder / collection
            if collection not in self._shards:
                if not Shard.exists(path):
                    raise StoreFailed(f"there is no collection {collection}", hint="run: lookalike verify --repair")
                self._shards[collection] = Shard.load(path)
            return self._shards[collection]


class Shard:
    """One collection's engine, which can be exchanged for an optimised copy of itself while it serves.

    `<path>/current` names the folder that counts: `0`, `1`, …; others are left-overs of an interrupted exchange.
    """

    def __init__(self, path: Path, generation: int, shard: Any) -> None:
        self._path = path
        self._generation = generation
        self._shard = shard
        self._writing = threading.Lock()
        self._changed: set[str] | None = None  # ids written while a copy is being optimised
        self.dim: int = json.loads((path / "collection.json").read_text())["dim"]

    @staticmethod
    def exists(path: Path) -> bool:
        return (path / "current").is_file()

    @classmethod
    def create(cls, path: Path, dim: int) -> "Shard":
        shutil.rmtree(path, ignore_errors=True)
        (path / "0").mkdir(parents=True)
        config = edge.EdgeConfig(vectors=edge.EdgeVectorParams(size=dim, distance=edge.Distance.Cosine))
        shard = edge.EdgeShard.create(str(path / "0"), config)
        shard.update(edge.UpdateOperation.create_field_index("label", edge.PayloadSchemaType.Keyword))
        shard.flush()
        (path / "collection.json").write_text(json.dumps({"dim": dim}))
        _name_current(path, 0)
        return cls(path, 0, shard)

    @classmethod
    def load(cls, path: Path) -> "Shard":
        generation = int((path / "current").read_text())
        for other in path.iterdir():
            if other.is_dir() and other.name != str(generation):
                shutil.rmtree(other)
        return cls(path, generation, edge.EdgeShard.load(str(path / str(generation))))

    @property
    def engine(self) -> Any:
        """The engine to read from. An exchange leaves the old one open until its last reader lets go."""
        return self._shard

    def update(self, operations: Sequence[Any], ids: Sequence[str]) -> None:
        """Applies operations that touch these ids; they are on disk when this returns."""
        if not operations:
            return
        with self._writing:
            if self._changed is not None:
                self._changed.update(ids)
            for operation in operations:
                self._shard.update(operation)
            self._shard.flush()

    @property
    def unindexed(self) -> int:
        """How many points no HNSW graph covers."""
        info = self._shard.info()
        return max(0, info.points_count - info.indexed_vectors_count)

    def copy_for_optimising(self) -> Path:
        """A copy of the shard as it is now; from here on the changes are noted for `exchange`."""
        target = self._path / str(self._generation + 1)
        with self._writing:
            self._shard.flush()
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(self._path / str(self._generation), target)
            self._changed = set()
        return target

    def abandon_copy(self) -> None:
        with self._writing:
            self._changed = None
        shutil.rmtree(self._path / str(self._generation + 1), ignore_errors=True)

    def exchange(self) -> None:
        """Puts the optimised copy in place, with what changed since it was made."""
        copy = edge.EdgeShard.load(str(self._path / str(self._generation + 1)))
        with self._writing:
            changed = list(self._changed or ())
            self._changed = None
            for start in range(0, len(changed), _PAGE):
                _replay(self._shard, copy, changed[start : start + _PAGE])
            copy.flush()
            _name_current(self._path, self._generation + 1)
            old, self._shard = self._path / str(self._generation), copy
            self._generation += 1
        # The old engine closes when its last reader lets go; its files may go now.
        shutil.rmtree(old, ignore_errors=True)

    def close(self) -> None:
        with self._writing:
            self._shard.flush()
            self._shard.close()


def _replay(source: Any, target: Any, ids: list[str]) -> None:
    keys = [uuid.UUID(id) for id in ids]
    records = source.retrieve(keys, True, True)
    present = {_id(record.id) for record in records}
    if records:
        points = [edge.Point(record.id, record.vector, record.payload) for record in records]
        target.update(edge.UpdateOperation.upsert_points(points))
    gone = [uuid.UUID(id) for id in ids if id not in present]
    if gone:
        target.update(edge.UpdateOperation.delete_points(gone))


def _own(folder: Path) -> IO[str]:
    file = (folder / "owner.lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        raise StoreBusy(
            f"another worker (process {owner}) owns the embedded vector store {folder}",
            hint="stop it, or set LOOKALIKE_QDRANT_URL to a Qdrant server to run several workers",
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def _name_current(path: Path, generation: int) -> None:
    draft = path / ".current"
    with draft.open("w") as file:
        file.write(str(generation))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path / "current")


def _label_filter(label: str | None) -> Any:
    if label is None:
        return None
    return edge.Filter(must=[edge.FieldCondition("label", match=edge.MatchValue(label))])


def _id(point_id: Any) -> str:
    return uuid.UUID(str(point_id)).hex


def _vector(vector: Any) -> np.ndarray | None:
    return None if vector is None else np.asarray(vector, dtype=np.float32)
