"""One collection of the embedded store: Edge's engine, exchangeable for an optimised copy of itself while it serves.

<folder>/collection.json   its dimension
<folder>/current           the number of the folder that counts; others are left-overs of an interrupted exchange
<folder>/0, 1, …           the engine's files

A write is acknowledged when the engine's log has it on disk; opening replays the log. The engine's own `flush` keeps
the interpreter for 30 to 300 ms, so it is called once in thousands of points only, when its files are on disk already.
"""

import contextlib
import json
import re
import shutil
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import qdrant_edge as edge

from ml import files
from workers.store import StoreFailed
from workers.store.codes import needs_graph
from workers.store.conditions import KEYWORDS, NUMBERS, WORDS

_REFUSED = re.compile(r"\(os error (?!2\))\d+\)|WouldBlock")  # by the operating system; 2: a file of it is missing
_LONGEST_LOG = 20_000  # points; replaying them takes a second or two
_LITTLE_SPACE = 64 * 2**20  # bytes: the engine makes files of 32 MB ahead of need
_REPLAYED = 100  # points per step: an engine call keeps the interpreter, and no search shall wait 100 ms


class DamagedCollection(StoreFailed):
    """The files of a collection are not what the engine wrote."""


class Shard:
    """An open collection. Reads go to `engine`, writes through `update`."""

    def __init__(self, path: Path, generation: int, shard: Any) -> None:
        self._path = path
        self._generation = generation
        self._shard = shard
        self._writing = threading.Lock()
        self._changed: set[str] | None = None  # ids written while a copy is being optimised
        self.written_at = time.monotonic()
        self.is_searched = False  # since it was opened
        self.is_awaited = False  # its graph, by somebody
        self.has_failed = False  # when its graph was built last
        self._logged = 0  # points written since the last flush: opening would replay them
        self.dim: int = json.loads((path / "collection.json").read_text())["dim"]

    def __str__(self) -> str:
        return self._path.name

    @staticmethod
    def exists(path: Path) -> bool:
        return (path / "current").is_file()

    @classmethod
    def create(cls, path: Path, dim: int) -> "Shard":
        shutil.rmtree(path, ignore_errors=True)
        (path / "0").mkdir(parents=True)
        config = edge.EdgeConfig(vectors=edge.EdgeVectorParams(size=dim, distance=edge.Distance.Cosine))
        shard = edge.EdgeShard.create(str(path / "0"), config)
        _index_fields(shard)
        shard.flush()
        files.write(path / "collection.json", json.dumps({"dim": dim}))
        _name_current(path, 0)
        return cls(path, 0, shard)

    @classmethod
    def load(cls, path: Path) -> "Shard":
        """Opens what is there, and reads a point of it.

        Raises:
            DamagedCollection: it cannot be opened or read, and never will be.
            StoreFailed: the operating system refuses it now.
        """
        try:
            shard = cls._load(path)
            shard.engine.scroll(edge.ScrollRequest(limit=1, with_payload=True, with_vector=True))
            return shard
        except BaseException as error:  # the engine knows no finer one, and its panics are no Exceptions
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            is_refused = isinstance(error, OSError) and not isinstance(error, FileNotFoundError)
            if is_refused or _REFUSED.search(reason):
                raise StoreFailed(
                    f"the embedded store cannot be opened: {reason}", hint="check the disk and the permissions"
                ) from error
            raise DamagedCollection(f"the collection {path.name} is damaged: {reason}") from error

    @classmethod
    def _load(cls, path: Path) -> "Shard":
        generation = int((path / "current").read_text())
        for other in path.iterdir():
            if other.is_dir() and other.name != str(generation):
                shutil.rmtree(other)
        shard = edge.EdgeShard.load(str(path / str(generation)))
        _index_fields(shard)  # one that an earlier version has made lacks some
        return cls(path, generation, shard)

    @property
    def engine(self) -> Any:
        """The engine to read from. An exchange leaves the old one open until its last reader lets go."""
        return self._shard

    def update(self, operations: Sequence[Any], ids: Sequence[str]) -> None:
        """Applies operations that touch these ids; they are on disk when this returns."""
        if not operations:
            return
        self.written_at = time.monotonic()
        with self._writing:
            if self._changed is not None:
                self._changed.update(ids)
            try:
                for operation in operations:
                    self._shard.update(operation)
                _sync_tree(self._path / str(self._generation) / "wal")
            except Exception as error:  # the engine knows no finer one
                raise self._write_failed(error) from error
            self._logged += len(ids)
            if self._logged > _LONGEST_LOG:
                self._flush()

    def _write_failed(self, error: Exception) -> StoreFailed:
        """The engine tells a full disk like everything else; a disk is full here when little is left of it."""
        is_full = shutil.disk_usage(self._path).free < _LITTLE_SPACE
        reason = "the disk is full" if is_full else str(error).splitlines()[0]
        hint = "free some space; it goes on by itself" if is_full else "run: lookalike verify --repair"
        return StoreFailed(f"the embedded store cannot write: {reason}", hint=hint, passes=is_full)

    def _flush(self) -> None:
        _sync_tree(self._path / str(self._generation))
        self._shard.flush()
        self._logged = 0

    @property
    def count(self) -> int:
        """How many points there are."""
        return int(self._shard.info().points_count)

    @property
    def unindexed(self) -> int:
        """How many points no HNSW graph covers."""
        info = self._shard.info()
        return int(max(0, info.points_count - info.indexed_vectors_count))

    def wants_graph(self, *, is_quiet: bool) -> bool:
        """Whether points that no graph covers are worth another one: see codes.needs_graph."""
        return needs_graph(self.unindexed, self.count, self.dim, is_quiet=is_quiet)

    def copy_for_optimising(self) -> Path:
        """A copy of the shard as it is now; from here on the changes are noted for `exchange`."""
        target = self._path / str(self._generation + 1)
        with self._writing:
            self._flush()
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
            for start in range(0, len(changed), _REPLAYED):
                _replay(self._shard, copy, changed[start : start + _REPLAYED])
            _sync_tree(self._path / str(self._generation + 1))
            copy.flush()
            _name_current(self._path, self._generation + 1)
            old, self._shard = self._path / str(self._generation), copy
            self._generation += 1
            self._logged = 0
        # The old engine closes when its last reader lets go; its files may go now.
        shutil.rmtree(old, ignore_errors=True)

    def close(self) -> None:
        with self._writing:
            self._flush()
            self._shard.close()


def _index_fields(shard: Any) -> None:
    """Indexes the fields that images are selected and ordered by, unless they are."""
    words = edge.TextIndexParams(tokenizer=edge.TokenizerType.Prefix, min_token_len=1, max_token_len=20, lowercase=True)
    number = edge.IntegerIndexParams(lookup=False, range=True)
    wanted: dict[str, Any] = dict.fromkeys(KEYWORDS, edge.PayloadSchemaType.Keyword)
    wanted |= dict.fromkeys(NUMBERS, number) | {WORDS: words}
    for field in wanted.keys() - shard.info().payload_schema.keys():
        shard.update(edge.UpdateOperation.create_field_index(field, wanted[field]))


def _sync_tree(folder: Path) -> None:
    """Waits until a folder and all below it are on disk, without keeping the interpreter."""
    for path in (folder, *folder.rglob("*")):
        with contextlib.suppress(FileNotFoundError):  # the engine removes what it needs no more
            files.sync(path)


def _replay(source: Any, target: Any, ids: list[str]) -> None:
    keys = [uuid.UUID(id) for id in ids]
    records = source.retrieve(keys, True, True)
    present = {hex_id(record.id) for record in records}
    if records:
        points = [edge.Point(record.id, record.vector, record.payload) for record in records]
        target.update(edge.UpdateOperation.upsert_points(points))
    gone: list[int | uuid.UUID | str] = [uuid.UUID(id) for id in ids if id not in present]
    if gone:
        target.update(edge.UpdateOperation.delete_points(gone))


def _name_current(path: Path, generation: int) -> None:
    files.write(path / "current", str(generation))


def hex_id(point_id: Any) -> str:
    """An image's id from a point's."""
    # To parse a text that was made of one takes most of what a fetched point costs.
    return point_id.hex if isinstance(point_id, uuid.UUID) else uuid.UUID(str(point_id)).hex
