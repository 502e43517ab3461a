"""Qdrant Edge: the real engine in this process, one folder per collection.

Exactly one process may own the folder (a lock says which). Edge scores exactly until `optimize()` has built an HNSW
graph, and that call holds the interpreter for minutes. So graphs are built in the background by a child process on a
copy (workers.store.optimize), and the copy then takes the shard's place: no search waits.
"""

import fcntl
import logging
import os
import shutil
import struct
import subprocess
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import qdrant_edge as edge

from ml.names import CollectionName
from ml.records import Damaged, DamageLog, Unlogged
from workers.messages import AVERAGE, Selection
from workers.store import (
    COLLECTIONS,
    EVERYTHING,
    Hit,
    Payload,
    Place,
    Point,
    Query,
    Store,
    StoreBusy,
    Stored,
    StoreFailed,
    compared,
    page_behind,
    page_sizes,
)
from workers.store.codes import chosen, needs_graph, oversampling
from workers.store.conditions import conditions
from workers.store.examples import Examples
from workers.store.optimize import optimise
from workers.store.shard import DamagedCollection, Shard, hex_id

logger = logging.getLogger(__name__)

_QUIET_S = 10.0


class EdgeStore(Store):
    """Collections below one folder.

    One that is damaged is set aside, in `.damaged-<name>`, and begun anew: it is made of the originals once more.

    Args:
        folder: theirs alone.
        log: told what is found damaged.
        codes: one of codes.KINDS: what collections are searched by, from the next graph on that is built of them.
    """

    def __init__(self, folder: Path, log: DamageLog | None = None, *, codes: str = "auto") -> None:
        self._folder = folder
        self._log = log or Unlogged()
        self._codes = codes
        self._params = _search_params(codes)
        folder.mkdir(parents=True, exist_ok=True)
        self._lock_file = _own(folder)
        self._guard = threading.Lock()
        self._shards: dict[str, Shard] = {}
        self._versions: Counter[str] = Counter()  # of points and vectors, by collection
        self._writes: Counter[str] = Counter()  # of payloads, too
        self._facets: dict[tuple[str, str], tuple[int, dict[str, int]]] = {}
        self._closed = threading.Event()
        self._optimiser = threading.Thread(target=self._keep_optimised, name="optimiser", daemon=True)
        self._optimiser.start()

    def ensure(self, collection: str, dim: int) -> None:
        with self._guard:
            path = self._folder / CollectionName(collection)
            if collection not in self._shards:
                self._shards[collection] = (self._load(path) if Shard.exists(path) else None) or Shard.create(path, dim)
        known = self._shards[collection].dim
        if known != dim:
            raise StoreFailed(
                f"collection {collection} holds vectors of {known} numbers, not {dim}",
                hint="publish the model again: it makes a collection of its own",
            )

    def exists(self, collection: str) -> bool:
        return collection in self._shards or Shard.exists(self._folder / CollectionName(collection))

    def dim(self, collection: str) -> int:
        return self._shard(collection).dim

    def drop(self, collection: str) -> None:
        with self._guard:
            shard = self._shards.pop(collection, None)
            if shard is not None:
                shard.close()
            folder = self._folder / CollectionName(collection)
            for path in (folder, _aside(folder)):
                shutil.rmtree(path, ignore_errors=True)
        self._count_change(collection)

    def collections(self) -> list[str]:
        return sorted(path.name for path in self._folder.iterdir() if Shard.exists(path) and path != _aside(path))

    def upsert(self, collection: str, points: Sequence[Point]) -> None:
        made = [edge.Point(uuid.UUID(p.id), p.vector.tolist(), p.payload.to_json()) for p in points]
        self._shard(collection).update([edge.UpdateOperation.upsert_points(made)], [p.id for p in points])
        self._count_change(collection)

    def set_payloads(self, collection: str, payloads: Mapping[str, Payload]) -> None:
        shard = self._shard(collection)
        present = list(self.fetch(collection, list(payloads)))
        overwrite = edge.UpdateOperation.overwrite_payload
        shard.update([overwrite([uuid.UUID(id)], payloads[id].to_json()) for id in present], present)
        self._count_change(collection, of_points=False)

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        operation = edge.UpdateOperation.delete_points([uuid.UUID(id) for id in ids])
        self._shard(collection).update([operation], ids)
        self._count_change(collection)

    def query_batch(self, collection: str, queries: Sequence[Query]) -> list[list[Hit]]:
        requests = [
            edge.QueryRequest(
                limit=query.limit,
                query=_target(query.target),
                filter=_label_filter(query.label),
                params=self._params,
                with_payload=True,
                with_vector=query.with_vectors or isinstance(query.target, Examples),
            )
            for query in queries
        ]
        found = self._shard(collection).engine.query_batch(edge.QueryBatchRequest(requests))
        return [compared([_hit(point) for point in points], q) for q, points in zip(queries, found, strict=True)]

    def fetch(self, collection: str, ids: Sequence[str], *, with_vectors: bool = False) -> dict[str, Stored]:
        records = self._shard(collection).engine.retrieve([uuid.UUID(id) for id in ids], True, with_vectors)
        found = [Stored(hex_id(r.id), Payload.from_json(r.payload), _vector(r.vector)) for r in records]
        return {point.id: point for point in found}

    def points(
        self, collection: str, *, label: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Iterator[Stored]:
        offset = uuid.UUID(int=min(uuid.UUID(after).int + 1, 2**128 - 1)) if after else None
        for size in page_sizes(limit):
            request = edge.ScrollRequest(offset=offset, limit=size, filter=_label_filter(label), with_payload=True)
            records, offset = self._shard(collection).engine.scroll(request)
            for record in records:
                yield Stored(hex_id(record.id), Payload.from_json(record.payload))
            if offset is None:
                return

    def newest(self, collection: str, selection: Selection, *, after: Place | None, limit: int) -> list[Stored]:
        def fetch(start: int | None, size: int) -> list[Stored]:
            order = edge.OrderBy("newest", edge.Direction.Desc, start)
            request = edge.ScrollRequest(limit=size, filter=_filter(selection), with_payload=True, order_by=order)
            records, _ = self._shard(collection).engine.scroll(request)
            return [Stored(hex_id(record.id), Payload.from_json(record.payload)) for record in records]

        return page_behind(after, limit, fetch)

    def count(self, collection: str, selection: Selection = EVERYTHING) -> int:
        return int(self._shard(collection).engine.count(edge.CountRequest(exact=True, filter=_filter(selection))))

    def folders(self, collection: str) -> dict[str, int]:
        return self._facet(collection, "folder")

    def labels(self, collection: str) -> dict[str, int]:
        return self._facet(collection, "label")

    def _facet(self, collection: str, field: str) -> dict[str, int]:
        """How many points have each value: every page asks, and to count 100,000 points takes tens of milliseconds."""
        writes = self._writes[collection]
        known = self._facets.get((collection, field))
        if known is None or known[0] != writes:
            known = self._facets[collection, field] = (writes, self._counted(collection, field))
        return dict(known[1])

    def _counted(self, collection: str, field: str) -> dict[str, int]:
        hits = self._shard(collection).engine.facet(edge.FacetRequest(field, limit=100_000, exact=True)).hits
        used = [hit for hit in hits if hit.count]  # labels of deleted points linger with a count of 0
        return {str(hit.value): hit.count for hit in sorted(used, key=lambda hit: (-hit.count, str(hit.value)))}

    def announce(self, collection: str) -> None:
        """Nobody else can read an embedded store."""

    def tend(self, collection: str) -> None:
        """A thread of its own does: see `_keep_optimised`."""

    def version(self, collection: str) -> int | None:
        return self._versions[collection]

    def _count_change(self, collection: str, *, of_points: bool = True) -> None:
        """Called when the change has been made: what was read meanwhile is then known to be old."""
        with self._guard:
            self._writes[collection] += 1
            self._versions[collection] += of_points

    def problem(self) -> str:
        return ""

    def close(self) -> None:
        self._closed.set()
        self._optimiser.join()
        with self._guard:
            for shard in self._shards.values():
                shard.close()
            self._shards.clear()
        self._lock_file.close()

    def _keep_optimised(self) -> None:
        while not self._closed.wait(_QUIET_S):
            for shard in list(self._shards.values()):
                try:
                    is_quiet = time.monotonic() - shard.written_at > _QUIET_S
                    if needs_graph(shard.unindexed, shard.count, shard.dim, is_quiet=is_quiet):
                        self._optimise(shard)
                except Exception:  # dropped meanwhile, or the disk is full: the next round looks again
                    logger.exception("could not look after %s", shard)

    def _optimise(self, shard: Shard) -> None:
        try:
            codes = chosen(self._codes, shard.count, shard.dim)
            if optimise(shard.copy_for_optimising(), shard.dim, codes, until=self._closed):
                shard.exchange()
                logger.info("built the graph of %s, codes: %s", shard, codes)
                return
        except (OSError, subprocess.CalledProcessError) as error:
            logger.warning("could not build the graph of %s, searches stay exact: %s", shard, error)
        shard.abandon_copy()

    def _shard(self, collection: str) -> Shard:
        shard = self._shards.get(collection)
        if shard is not None:
            return shard
        with self._guard:
            path = self._folder / CollectionName(collection)
            if collection not in self._shards:
                shard = self._load(path) if Shard.exists(path) else None
                if shard is None:
                    raise StoreFailed(f"there is no collection {collection}", hint="run: lookalike verify --repair")
                self._shards[collection] = shard
            return self._shards[collection]

    def _load(self, path: Path) -> Shard | None:
        """The collection; None when it was damaged and has been set aside."""
        try:
            return Shard.load(path)
        except DamagedCollection as error:
            shutil.rmtree(_aside(path), ignore_errors=True)
            path.rename(_aside(path))
            logger.warning("%s; it is set aside as %s and made anew", error.message, _aside(path))
            self._log.found(
                Damaged(f"{error.message}; it is being made anew from the originals", key=f"{COLLECTIONS}{path.name}")
            )
            return None


def _aside(path: Path) -> Path:
    """Where a damaged collection goes."""
    return path.with_name(f".damaged-{path.name.removeprefix('.damaged-')}")


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


def _search_params(codes: str) -> Any:
    """How a search uses codes; where there are none it is ignored."""
    factor = oversampling(codes)
    how = edge.QuantizationSearchParams(ignore=factor is None, rescore=True, oversampling=factor)
    return edge.SearchParams(quantization=how)


def _label_filter(label: str | None) -> Any:
    if label is None:
        return None
    return edge.Filter(must=[edge.FieldCondition("label", match=edge.MatchValue(label))])


def _filter(selection: Selection) -> Any:
    made: list[Any] = []
    for each in conditions(selection):
        if each.is_missing:
            made.append(edge.IsEmptyCondition(each.key))
        elif each.value is not None:
            made.append(edge.FieldCondition(each.key, match=edge.MatchValue(each.value)))
        elif each.words is not None:
            made.append(edge.FieldCondition(each.key, match=edge.MatchText(each.words)))
        else:
            made.append(edge.FieldCondition(each.key, range=edge.RangeFloat(gte=each.at_least, lt=each.below)))
    return edge.Filter(must=made) if made else None


def _target(target: np.ndarray | Examples) -> Any:
    if not isinstance(target, Examples):
        return edge.Query.Nearest(target.tolist())
    if target.strategy == AVERAGE:
        return edge.Query.Nearest(target.average.tolist())
    like, unlike = ([vector.tolist() for vector in each] for each in (target.like, target.unlike))
    return edge.Query.RecommendBestScore(edge.RecommendQuery(like, unlike))


def _hit(point: Any) -> Hit:
    return Hit(hex_id(point.id), point.score, Payload.from_json(point.payload), _vector(point.vector))


def _vector(vector: Any) -> np.ndarray | None:
    if vector is None:
        return None
    # Half the time of np.asarray, and a search fetches fifty.
    return np.frombuffer(struct.pack(f"{len(vector)}f", *vector), np.float32).copy()
