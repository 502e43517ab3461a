"""Copies a gallery to another place, a 256th at a time: backup, restore, and migration to servers.

A place is a storage and what keeps its points: the store that a worker serves from, another Qdrant server, or an
archive of plain files. Safe to run again: files that are there already are passed over, points are written again.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from ml.errors import LookalikeError
from ml.records import Damaged
from ml.storage import Storage, open_storage
from workers.gallery.originals import key as original_key
from workers.process.serving import Serving
from workers.queue.jobs import Chunk
from workers.store import Point, Store, points_with_prefix
from workers.store.archive import Archive
from workers.tasks.copying import copy_files, folders_of, remove_others

_PAGE = 200


class TransferFailed(LookalikeError):
    """What arrived is not what was sent."""


class Points(Protocol):
    """Collections that can be read and written a prefix at a time."""

    def collections(self) -> list[str]: ...

    def dim(self, collection: str) -> int: ...

    def ensure(self, collection: str, dim: int) -> None: ...

    def drop(self, collection: str) -> None: ...

    def read(self, collection: str, prefix: str) -> list[Point]: ...

    def write(self, collection: str, prefix: str, points: list[Point]) -> None: ...


class StorePoints:
    """The gallery's collections in a store as `Points`. Whatever else a shared server holds is left alone."""

    def __init__(self, store: Store, names: Sequence[str]) -> None:
        self._store, self._names = store, names

    def collections(self) -> list[str]:
        return [name for name in self._names if self._store.exists(name)]

    def drop(self, collection: str) -> None:
        self._store.drop(collection)

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
        Counts for the job: `files` and `points` that are at the target now; `left_out`, files that are not what they
        should be: see `copying`.

    Raises:
        TransferFailed: points differ after they were read back.
    """
    (source, source_points), (target, target_points) = places(serving, chunk.params)
    counts = {"files": 0, "points": 0, "left_out": 0, "done": len(chunk.items)}
    if "to" in chunk.params:
        for dropped in set(target_points.collections()) - set(source_points.collections()):
            target_points.drop(dropped)
    for item in chunk.items:
        prefix = item.removeprefix("prefix:")
        copied: dict[str, list[str]] = {}
        left_out: set[str] = set()
        for folder in folders_of(prefix):
            keys, damaged = copy_files(source, target, folder, renew)
            copied[folder] = list(dict.fromkeys([*copied.get(folder, ()), *keys]))
            left_out.update(damaged)
            if folder == f"originals/{prefix}" and "from" not in chunk.params:
                in_place, damaged = _copy_in_place(serving, target, prefix, renew)
                copied[folder] += in_place
                left_out.update(damaged)
        counts["files"] += sum(map(len, copied.values())) - len(left_out)
        counts["left_out"] += len(left_out)
        if "to" in chunk.params:  # so that no restore brings back what was deleted
            for folder, keys in reversed(copied.items()):
                remove_others(target, folder, keys)
        for collection in source_points.collections():
            try:
                points = source_points.read(collection, prefix)
            except Damaged:
                if "from" not in chunk.params:
                    raise
                continue  # the checking after a restore embeds them again
            target_points.ensure(collection, source_points.dim(collection))
            target_points.write(collection, prefix, points)
            if checksum(target_points.read(collection, prefix)) != checksum(points):
                raise TransferFailed(f"collection {collection} differs after it was copied", hint="run it again")
            counts["points"] += len(points)
            renew()
    return counts


def places(serving: Serving, params: dict[str, Any]) -> tuple[tuple[Storage, Points], tuple[Storage, Points]]:
    """Source and target of a job: its params hold `to` or `from`, an archive's URL, or `to_storage` and `to_qdrant`."""
    here = (serving.storage, StorePoints(serving.store, _own_collections(serving)))
    if "from" in params:
        archive = open_storage(params["from"])
        return (archive, Archive(archive)), here
    if "to" in params:
        archive = open_storage(params["to"])
        return here, (archive, Archive(archive))
    storage = open_storage(params["to_storage"]) if params.get("to_storage") else serving.storage
    if not params.get("to_qdrant"):
        return here, (storage, here[1])
    from workers.store.layout import Layout
    from workers.store.server import ServerStore

    settings = serving.settings
    server = ServerStore.connect(params["to_qdrant"], settings.qdrant_api_key, Layout.of(settings))
    return here, (storage, StorePoints(server, here[1].collections()))


def _own_collections(serving: Serving) -> list[str]:
    """What the registry names: a Qdrant server may hold the collections of others, too."""
    active = serving.registry.active()
    return [entry.collection for entry in [active, *serving.registry.history()] if entry]


def _copy_in_place(
    serving: Serving, target: Storage, prefix: str, renew: Callable[[], None]
) -> tuple[list[str], list[str]]:
    """Copies the originals that stay in place here. Returns their keys, and those of which have changed or are gone."""
    keys, left_out = [], []
    images = serving.gallery.find_many(serving.gallery.ids(prefix))
    reads = {id: functools.partial(serving.gallery.original, id) for id, image in images.items() if image.is_in_place}
    for each in serving.gallery.discarded(prefix):
        if (reference := each.known.reference) is not None:
            reads[each.known.image.id] = functools.partial(reference.read, each.known.image.id)
    for id, read in reads.items():
        keys.append(original_key(id))
        try:
            if not target.exists(original_key(id)):
                target.put(original_key(id), read())
        except Damaged:
            left_out.append(original_key(id))
        renew()
    return keys, left_out


def checksum(points: Iterable[Point]) -> str:
    """SHA-256 over ids, vectors and payloads, in order of ids."""
    digest = hashlib.sha256()
    for point in sorted(points, key=lambda point: point.id):
        digest.update(point.id.encode())
        digest.update(point.vector.astype("<f4").tobytes())
        digest.update(json.dumps(point.payload.to_json(), sort_keys=True, ensure_ascii=False).encode())
    return digest.hexdigest()
