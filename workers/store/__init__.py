"""Collections of vectors: one small interface, two engines.

`edge` is the Qdrant engine inside the worker's own process, for one machine. `server` talks to a Qdrant server. Both
pass the same tests (tests/workers/test_store.py). A point is an image's id, its unit vector and a small payload: what
a search shows and filters by, copied from the gallery's metadata.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ml.errors import LookalikeError
from ml.records import DamageLog
from workers.settings import Settings

AWAY = "the vector store does not answer"


class StoreBusy(LookalikeError):
    """An embedded store that another process owns."""


COLLECTIONS = "collections/"  # what the keys of damaged ones begin with in a DamageLog


class StoreFailed(LookalikeError):
    """The vector database does not answer, or rejects a request."""


@dataclass(frozen=True)
class Payload:
    """What a point carries besides its vector."""

    path: str
    label: str | None

    def to_json(self) -> dict[str, str]:
        """As the engines keep it: no label is no key, so that counting by label passes it over."""
        return {"path": self.path} | ({} if self.label is None else {"label": self.label})

    @classmethod
    def from_json(cls, data: dict[str, str]) -> "Payload":
        return cls(path=data["path"], label=data.get("label"))


@dataclass(frozen=True)
class Point:
    """What is written. `vector` is float32 [d] of unit length."""

    id: str
    vector: np.ndarray
    payload: Payload


@dataclass(frozen=True)
class Hit:
    """What a query finds. `similarity` is the cosine. `vector` is None unless asked for."""

    id: str
    similarity: float
    payload: Payload
    vector: np.ndarray | None = None


@dataclass(frozen=True)
class Stored:
    """A point that was fetched or listed. `vector` is None unless asked for."""

    id: str
    payload: Payload
    vector: np.ndarray | None = field(default=None, compare=False)


class Store(Protocol):
    """Collections of points. What a method acknowledges survives `kill -9`. Safe to use from many threads."""

    def ensure(self, collection: str, dim: int) -> None:
        """Makes the collection unless it exists. Raises StoreFailed when it exists with another dimension."""

    def exists(self, collection: str) -> bool: ...

    def dim(self, collection: str) -> int:
        """How many numbers a vector has. Raises StoreFailed when there is no such collection."""

    def drop(self, collection: str) -> None:
        """Removes a collection and its points; one that does not exist is no error."""

    def collections(self) -> list[str]: ...

    def upsert(self, collection: str, points: Sequence[Point]) -> None: ...

    def set_payloads(self, collection: str, payloads: Mapping[str, Payload]) -> None:
        """Replaces the payloads of points that exist; ids that do not are passed over."""

    def delete(self, collection: str, ids: Sequence[str]) -> None: ...

    def query(
        self, collection: str, vector: np.ndarray, limit: int, *, label: str | None = None, with_vectors: bool = False
    ) -> list[Hit]:
        """The nearest points by cosine, best first, among those with the label if one is given."""

    def fetch(self, collection: str, ids: Sequence[str], *, with_vectors: bool = False) -> dict[str, Stored]:
        """id -> point, for those that exist."""

    def points(
        self, collection: str, *, label: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Iterator[Stored]:
        """Points in order of their ids, from the first one behind `after`."""

    def count(self, collection: str) -> int: ...

    def labels(self, collection: str) -> dict[str, int]:
        """label -> number of points, most frequent first."""

    def announce(self, collection: str) -> None:
        """Names the collection that answers searches, for programs that read the vector database beside us."""

    def problem(self) -> str:
        """What is wrong with the store as far as is known, in words; empty when nothing is. Asks nobody."""

    def close(self) -> None: ...


def points_with_prefix(store: Store, collection: str, prefix: str) -> dict[str, Stored]:
    """id -> point, of those whose id starts with these two hex digits: a 256th of a collection."""
    first = int(prefix + 30 * "0", 16)
    after = f"{first - 1:032x}" if first else None
    points = itertools.takewhile(lambda point: point.id.startswith(prefix), store.points(collection, after=after))
    return {point.id: point for point in points}


def page_sizes(limit: int | None) -> Iterator[int]:
    """How many points to ask for, page after page, up to `limit` in all; few at first, for whoever wants a few."""
    page = 32
    while limit is None or limit > 0:
        size = page if limit is None else min(limit, page)
        yield size
        limit = None if limit is None else limit - size
        page = min(2 * page, 1000)


def open_store(settings: Settings, log: DamageLog | None = None) -> Store:
    """The store that the settings name, which tells a log what it finds damaged.

    Raises StoreBusy when another process owns the embedded one.
    """
    if settings.is_embedded_qdrant:
        from workers.store.edge import EdgeStore

        return EdgeStore(settings.home / "qdrant", log)
    from workers.store.server import Layout, ServerStore

    return ServerStore.connect(settings.qdrant_url, settings.qdrant_api_key, Layout.of(settings))
