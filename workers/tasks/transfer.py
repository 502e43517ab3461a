"""Copies a gallery to another place, a 256th at a time: backup, restore, and migration to servers.

A place is a storage and what keeps its points: the store that a worker serves from, another Qdrant server, or an
archive of plain files. Safe to run again: files that are there already are passed over, points are written again.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from ml.errors import LookalikeError
from ml.storage import Storage, open_storage
from workers.process.serving import Serving
from workers.queue.jobs import Chunk
from workers.store import Point, Store, points_with_prefix
from workers.store.archive import Archive

_FOLDERS = ("originals", "thumbnails", "metadata")  # metadata last: with it an image exists
_PAGE = 200


class TransferFailed(LookalikeError):
    """What arrived is not what was sent."""


class Points(Protocol):
    """Collections that can be read and written a prefix at a time."""

    def collections(self) -> list[str]: ...

    def dim(self, collection: str) -> int: ...

    def ensure(self, collection: str, dim: int) -> None: ...

    def read(self, collection: str, prefix: str) -> list[Point]: ...

    def write(self, collection: str, prefix: str, points: list[Point]) -> None: ...


class StorePoints:
    """A store as `Points`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def collections(self) -> list[str]:
        return self._store.collections()

    def dim(self, collection: str) -> int:
        return self._store.dim(collection)

    def ensure(self, collection: str, dim: int) -> None:
        self._store.ensure(collection, dim)

    def read(self, collection: str, prefix: str) -> list[Point]:
        ids = list(points_with_prefix(self._store, collection, prefix))
        points = []
        for start in range(0, len(ids), _PAGE):
            stored = self._store.fetch(collection, ids[start : start + _PAGE], with_vectors=True)
            points += [Point(p.id, p.vector, p.payload) for p in stored.values() if p.vector is not None]
        return sorted(points, key=lambda point: point.id)

    def write(self, collection: str, prefix: str, points: list[Point]) -> None:
        known = set(points_with_prefix(self._store, collection, prefix))
        gone = known - {point.id for point in points}
        if gone:
            self._store.delete(collection, sorted(gone))
        for start in range(0, len(points), _PAGE):
            self._store.upsert(collection, points[start : start + _PAGE])


def transfer(serving: Serving, chunk: Chunk, renew: Callable[[], None]) -> dict[str, int]:
    """Copies the prefixes of a chunk. The job's params say from where to where: see `places`.

    Returns:
        Counts for the job: `files` and `points` that are at the target now.

    Raises:
        TransferFailed: points differ after they were read back.
    """
    (source, source_points), (target, target_points) = places(serving, chunk.params)
    counts = {"files": 0, "points": 0, "done": len(chunk.items)}
    for item in chunk.items:
        prefix = item.removeprefix("prefix:")
        copied = {folder: copy_files(source, target, f"{folder}/{prefix}", renew) for folder in _FOLDERS}
        counts["files"] += sum(map(len, copied.values()))
        if "to" in chunk.params:  # so that no restore brings back what was deleted
            for folder, keys in reversed(copied.items()):
                remove_others(target, f"{folder}/{prefix}", keys)
        for collection in source_points.collections():
            points = source_points.read(collection, prefix)
            target_points.ensure(collection, source_points.dim(collection))
            target_points.write(collection, prefix, points)
            if checksum(target_points.read(collection, prefix)) != checksum(points):
                raise TransferFailed(f"collection {collection} differs after it was copied", hint="run it again")
            counts["points"] += len(points)
            renew()
    return counts


def places(serving: Serving, params: dict[str, Any]) -> tuple[tuple[Storage, Points], tuple[Storage, Points]]:
    """Source and target of a job: its params hold `to` or `from`, an archive's URL, or `to_storage` and `to_qdrant`."""
    here = (serving.storage, StorePoints(serving.store))
    if "from" in params:
        archive = open_storage(params["from"])
        return (archive, Archive(archive)), here
    if "to" in params:
        archive = open_storage(params["to"])
        return here, (archive, Archive(archive))
    storage = open_storage(params["to_storage"]) if params.get("to_storage") else serving.storage
    if not params.get("to_qdrant"):
        return here, (storage, here[1])
    from workers.store.server import Layout, ServerStore

    settings = serving.settings
    server = ServerStore.connect(params["to_qdrant"], settings.qdrant_api_key, Layout.of(settings))
    return here, (storage, StorePoints(server))


def copy_files(source: Storage, target: Storage, folder: str, renew: Callable[[], None]) -> list[str]:
    """Copies a folder's files that the target lacks; those that may change are compared first. Returns all keys."""
    if source.url == target.url:
        return []
    keys = list(source.keys(folder))
    for count, key in enumerate(keys, 1):
        is_content = key.startswith(("originals/", "thumbnails/"))
        if is_content and target.exists(key):
            continue
        data = source.get(key)
        if not is_content and target.exists(key) and target.get(key) == data:
            continue
        target.put(key, data)
        if count % 20 == 0:
            renew()
    return keys


def remove_others(target: Storage, folder: str, keys: Iterable[str]) -> None:
    """Removes the files of a folder that are none of these."""
    for key in sorted(set(target.keys(folder)) - set(keys)):
        target.delete(key)


def checksum(points: Iterable[Point]) -> str:
    """SHA-256 over ids, vectors and payloads, in order of ids."""
    digest = hashlib.sha256()
    for point in sorted(points, key=lambda point: point.id):
        digest.update(point.id.encode())
        digest.update(point.vector.astype("<f4").tobytes())
        digest.update(json.dumps(point.payload.to_json(), sort_keys=True, ensure_ascii=False).encode())
    return digest.hexdigest()
