"""Qdrant Edge: the real engine in this process, one folder per collection.

Exactly one process may own the folder (a lock says which). Edge scores exactly until `optimize()` has built an HNSW
graph, and that call holds the interpreter for minutes. So graphs are built in the background by a child process on a
copy (workers.store.optimize), and the copy then takes the shard's place: no search waits.
"""

import contextlib
import fcntl
import logging
import os
import shutil
import subprocess
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import qdrant_edge as edge

from ml.names import CollectionName
from ml.records import Damaged, DamageLog, Unlogged
from workers.messages import Selection
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
    Written,
    compared,
    page_behind,
    page_sizes,
)
from workers.store.codes import chosen
from workers.store.edge_requests import (
    facet,
    hits_of,
    label_filter,
    search_params,
    selection_filter,
    target_of,
    vector_of,
)
from workers.store.optimize import optimise
from workers.store.remembered import Remembered
from workers.store.shard import DamagedCollection, Shard, hex_id
from workers.store.written import WriteLog

logger = logging.getLogger(__name__)

_LOOKED_S = 10.0  # between two looks for what wants a graph
_QUIET_S = 10.0  # since it was last written to
_COUNTS = 64  # selections whose counts are remembered


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
        self._params = search_params(codes)
        folder.mkdir(parents=True, exist_ok=True)
        self._lock_file = _own(folder)
        self._guard = threading.Lock()
        self._shards: dict[str, Shard] = {}
        self._log_of_writes = WriteLog()
        self._remembered = Remembered()
        self._counts: OrderedDict[tuple[str, Hashable], tuple[int, Any]] = OrderedDict()
        self._closed = threading.Event()
        self._awaited = threading.Event()  # a graph is
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
        with self._writing(collection, None), self._guard:
            shard = self._shards.pop(collection, None)
            if shard is not None:
                shard.close()
            folder = self._folder / CollectionName(collection)
            for path in (folder, _aside(folder)):
                shutil.rmtree(path, ignore_errors=True)

    def collections(self) -> list[str]:
        return sorted(path.name for path in self._folder.iterdir() if Shard.exists(path) and path != _aside(path))

    def upsert(self, collection: str, points: Sequence[Point]) -> None:
        made = [edge.Point(uuid.UUID(p.id), p.vector.tolist(), p.payload.to_json()) for p in points]
        ids = [p.id for p in points]
        with self._writing(collection, ids):
            self._shard(collection).update([edge.UpdateOperation.upsert_points(made)], ids)

    def set_payloads(self, collection: str, payloads: Mapping[str, Payload]) -> None:
        shard = self._shard(collection)
        present = list(self.fetch(collection, list(payloads)))
        overwrite = edge.UpdateOperation.overwrite_payload
        with self._writing(collection, present, of_points=False):
            shard.update([overwrite([uuid.UUID(id)], payloads[id].to_json()) for id in present], present)

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        operation = edge.UpdateOperation.delete_points([uuid.UUID(id) for id in ids])
        with self._writing(collection, ids):
            self._shard(collection).update([operation], ids)

    @contextlib.contextmanager
    def _writing(self, collection: str, ids: Sequence[str] | None, *, of_points: bool = True) -> Iterator[None]:
        """Whatever becomes of a write: what is remembered of these points (None: all) is of before."""
        try:
            yield
        finally:
            self._remembered.forget(collection, ids)
            self._log_of_writes.note(collection, ids, of_points=of_points)

    def query_batch(self, collection: str, queries: Sequence[Query]) -> list[list[Hit]]:
        requests = [
            edge.QueryRequest(
                limit=query.limit,
                query=target_of(query.target),
                filter=label_filter(query.label),
                params=self._params,
                with_payload=not query.needs_vectors,  # with their vectors, points are mostly remembered
            )
            for query in queries
        ]
        shard = self._shard(collection)
        shard.is_searched = True
        answers = shard.engine.query_batch(edge.QueryBatchRequest(requests))
        found = [[(hex_id(scored.id), scored) for scored in answer] for answer in answers]
        pairs = list(zip(queries, found, strict=True))
        near = {id for query, answer in pairs if query.needs_vectors for id, _ in answer}
        points = self._points(collection, near)
        return [compared(hits_of(answer, points if query.needs_vectors else None), query) for query, answer in pairs]

    def _points(self, collection: str, ids: Collection[str]) -> dict[str, Stored]:
        """id -> point with its vector, of those that are there."""
        changes, known = self._remembered.changes, self._remembered.of(collection, ids)
        if missing := [id for id in ids if id not in known]:
            read = self.fetch(collection, missing, with_vectors=True)
            self._remembered.keep(collection, read.values(), changes)
            known |= read
        return known

    def fetch(self, collection: str, ids: Sequence[str], *, with_vectors: bool = False) -> dict[str, Stored]:
        records = self._shard(collection).engine.retrieve([uuid.UUID(id) for id in ids], True, with_vectors)
        found = [
            Stored(hex_id(r.id), Payload.from_json(r.payload), vector_of(r.vector) if with_vectors else None)
            for r in records
        ]
        return {point.id: point for point in found}

    def points(
        self, collection: str, *, label: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Iterator[Stored]:
        offset = uuid.UUID(int=min(uuid.UUID(after).int + 1, 2**128 - 1)) if after else None
        for size in page_sizes(limit):
            request = edge.ScrollRequest(offset=offset, limit=size, filter=label_filter(label), with_payload=True)
            records, offset = self._shard(collection).engine.scroll(request)
            for record in records:
                yield Stored(hex_id(record.id), Payload.from_json(record.payload))
            if offset is None:
                return

    def newest(self, collection: str, selection: Selection, *, after: Place | None, limit: int) -> list[Stored]:
        wanted = selection_filter(selection)

        def fetch(start: int | None, size: int) -> list[Stored]:
            order = edge.OrderBy("newest", edge.Direction.Desc, start)
            request = edge.ScrollRequest(limit=size, filter=wanted, with_payload=True, order_by=order)
            records, _ = self._shard(collection).engine.scroll(request)
            return [Stored(hex_id(record.id), Payload.from_json(record.payload)) for record in records]

        return page_behind(after, limit, fetch)

    def count(self, collection: str, selection: Selection = EVERYTHING) -> int:
        request = edge.CountRequest(exact=True, filter=selection_filter(selection))
        return int(self._counted(collection, selection, lambda engine: engine.count(request)))

    def folders(self, collection: str) -> dict[str, int]:
        return dict(self._counted(collection, "folder", lambda engine: facet(engine, "folder")))

    def labels(self, collection: str) -> dict[str, int]:
        return dict(self._counted(collection, "label", lambda engine: facet(engine, "label")))

    def _counted(self, collection: str, what: Hashable, count: Callable[[Any], Any]) -> Any:
        """What was counted since the last write: every page asks, and among 100,000 points it takes milliseconds."""
        with self._guard:
            writes = self._log_of_writes.count(collection)
            known = self._counts.get((collection, what))
        if known is None or known[0] != writes:
            known = (writes, count(self._shard(collection).engine))
        with self._guard:
            self._counts[collection, what] = known
            self._counts.move_to_end((collection, what))
            while len(self._counts) > _COUNTS:
                self._counts.popitem(last=False)
        return known[1]

    def announce(self, collection: str) -> None:
        """Nobody else can read an embedded store."""

    def tend(self, collection: str) -> None:
        """A thread of its own does: see `_keep_optimised`."""

    def make_ready(self, collection: str) -> bool:
        shard = self._shard(collection)
        if shard.has_failed or not shard.wants_graph(is_quiet=True):
            return True
        shard.is_awaited = True
        self._awaited.set()
        return False

    def version(self, collection: str) -> int | None:
        return self._log_of_writes.count_of_points(collection)

    def written(self, collection: str, since: int | None) -> Written:
        return self._log_of_writes.since(collection, since)

    def problem(self) -> str:
        return ""

    def close(self) -> None:
        self._closed.set()
        self._awaited.set()
        self._optimiser.join()
        with self._guard:
            for shard in self._shards.values():
                shard.close()
            self._shards.clear()
        self._lock_file.close()

    def _keep_optimised(self) -> None:
        while True:
            self._awaited.wait(_LOOKED_S)
            self._awaited.clear()
            if self._closed.is_set():
                return
            for shard in list(self._shards.values()):
                try:
                    is_quiet = shard.is_awaited or time.monotonic() - shard.written_at > _QUIET_S
                    # One that is being built to replace another is not searched: its graph is made once, at the end.
                    if (is_quiet or shard.is_searched) and shard.wants_graph(is_quiet=is_quiet):
                        shard.has_failed = not self._optimise(shard)
                    shard.is_awaited = False
                except Exception:  # dropped meanwhile, or the disk is full: the next round looks again
                    shard.has_failed = True
                    logger.exception("could not look after %s", shard)

    def _optimise(self, shard: Shard) -> bool:
        """Builds a graph beside the shard as it is. Returns whether that worked."""
        try:
            codes = chosen(self._codes, shard.count, shard.dim)
            if optimise(shard.copy_for_optimising(), shard.dim, codes, until=self._closed):
                shard.exchange()
                logger.info("built the graph of %s, codes: %s", shard, codes)
                return True
        except (OSError, subprocess.CalledProcessError) as error:
            logger.warning("could not build the graph of %s, searches stay exact: %s", shard, error)
        shard.abandon_copy()
        return False

    def _shard(self, collection: str) -> Shard:
        shard = self._shards.get(collection)
        if shard is not None:
            return shard
        with self._guard:
            path = self._folder / CollectionName(collection)
            if collection not in self._shards:
                if self._closed.is_set():
                    raise StoreFailed("the embedded store is closed", hint="try again", passes=True)
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
