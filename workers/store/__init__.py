"""Collections of vectors: one small interface, two engines.

`edge` is the Qdrant engine inside the worker's own process, for one machine. `server` talks to a Qdrant server. Both
pass the same tests (tests/workers/store/test_store.py). A point is an image's id, its unit vector and a small payload:
what a search shows and filters by, copied from the gallery's metadata.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any, Protocol

import numpy as np

from ml.errors import LookalikeError
from ml.records import DamageLog
from workers.messages import GalleryImage, Selection
from workers.settings import Settings
from workers.store.examples import Examples

AWAY = "the vector store does not answer"


class StoreBusy(LookalikeError):
    """An embedded store that another process owns."""


COLLECTIONS = "collections/"  # what the keys of damaged ones begin with in a DamageLog


class StoreFailed(LookalikeError):
    """The vector database does not answer, or rejects a request."""


_TIED = 16  # more images than are ever added in one microsecond


@dataclass(frozen=True)
class Payload:
    """What a point carries besides its vector.

    `newest` orders images by when they were added, in microseconds since 1970, which engines compare as float64.
    `taken` is in seconds.
    """

    path: str
    label: str | None
    newest: int = 0
    taken: int | None = None

    @classmethod
    def of(cls, image: GalleryImage) -> "Payload":
        """That of an image."""
        taken = None if image.taken_at is None else int(image.taken_at)
        return cls(image.path, image.label, microseconds(image.added_at), taken)

    def to_json(self) -> dict[str, str | int]:
        """As the engines keep it: no label is no key, so that counting by label passes it over."""
        path = PurePath(self.path)
        words = path.name if self.label is None else f"{path.name} {self.label}"
        fields = {"path": self.path, "label": self.label, "newest": self.newest, "taken": self.taken}
        fields |= {"folder": str(path.parent), "words": words.casefold()}
        return {name: value for name, value in fields.items() if value is not None}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Payload":
        return cls(data["path"], data.get("label"), data.get("newest", 0), data.get("taken"))


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


@dataclass(frozen=True, eq=False)
class Query:
    """What is looked for: the points nearest to a vector by cosine, or those that suit several examples.

    With a `label` only among those that have it. The similarity to examples is that to the most similar of `like`.
    """

    target: np.ndarray | Examples
    limit: int
    label: str | None = None
    with_vectors: bool = False

    @property
    def needs_vectors(self) -> bool:
        """Whether its hits are read with their vectors: to hand them on, or to compare them with examples."""
        return self.with_vectors or isinstance(self.target, Examples)


@dataclass(frozen=True)
class Stored:
    """A point that was fetched or listed. `vector` is None unless asked for."""

    id: str
    payload: Payload
    vector: np.ndarray | None = field(default=None, compare=False)


EVERYTHING = Selection()


@dataclass(frozen=True)
class Place:
    """Where a page of the gallery ended: at this image, `newest` of its payload."""

    newest: int
    id: str

    @classmethod
    def of(cls, point: Stored) -> "Place":
        return cls(point.payload.newest, point.id)


def page_behind(after: Place | None, limit: int, fetch: Callable[[int | None, int], Sequence[Stored]]) -> list[Stored]:
    """The newest points behind a place, those of one moment in order of their ids.

    Args:
        after: the place; None for the very newest.
        limit: how many points.
        fetch: gives so many of the newest points up to a moment, that included, in any order where moments are equal.
    """
    found = fetch(None if after is None else after.newest, limit + 2 * _TIED)
    ordered = sorted(found, key=lambda point: (-point.payload.newest, point.id))
    if after is not None:
        ordered = [p for p in ordered if (-p.payload.newest, p.id) > (-after.newest, after.id)]
    return ordered[:limit]


def compared(hits: Sequence[Hit], query: Query) -> list[Hit]:
    """The hits of a query; of one with examples, whose hits carry their vectors, with their similarity to these."""
    if not isinstance(query.target, Examples):
        return list(hits)
    target = query.target
    return [replace(hit, similarity=target.similarity(hit.vector)) for hit in hits if hit.vector is not None]


def microseconds(at_s: float) -> int:
    """Seconds as whole microseconds."""
    return int(at_s * 1e6)


@dataclass(frozen=True)
class Written:
    """What of a collection was written up to a moment.

    Args:
        until: the moment: the number of the last write.
        points: ids that have come, gone or got another vector; None when that is not known any more, and all may have.
        payloads: ids whose payload alone was replaced.
    """

    until: int
    points: Set[str] | None
    payloads: Set[str] = frozenset()


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

    def query_batch(self, collection: str, queries: Sequence[Query]) -> list[list[Hit]]:
        """For each query what it is that it looks for, best first."""

    def query(
        self, collection: str, vector: np.ndarray, limit: int, *, label: str | None = None, with_vectors: bool = False
    ) -> list[Hit]:
        """The nearest points by cosine, best first, among those with the label if one is given."""
        (hits,) = self.query_batch(collection, [Query(vector, limit, label, with_vectors)])
        return hits

    def fetch(self, collection: str, ids: Sequence[str], *, with_vectors: bool = False) -> dict[str, Stored]:
        """id -> point, for those that exist."""

    def points(
        self, collection: str, *, label: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Iterator[Stored]:
        """Points in order of their ids, from the first one behind `after`."""

    def newest(self, collection: str, selection: Selection, *, after: Place | None, limit: int) -> list[Stored]:
        """Points that are selected, the newest first, from the first one behind a place."""

    def count(self, collection: str, selection: Selection = EVERYTHING) -> int: ...

    def folders(self, collection: str) -> dict[str, int]:
        """folder -> number of points, most frequent first."""

    def labels(self, collection: str) -> dict[str, int]:
        """label -> number of points, most frequent first."""

    def announce(self, collection: str) -> None:
        """Names the collection that answers searches, for programs that read the vector database beside us."""

    def tend(self, collection: str) -> None:
        """Has the collection laid out as its size asks for; called now and then, quick, and no write waits for it."""

    def make_ready(self, collection: str) -> bool:
        """Has made what searches go by, where it is lacking. Returns at once, and whether all is there that can be:
        then searches are as fast as the collection's size allows."""

    def version(self, collection: str) -> int | None:
        """Another number whenever a point has come, gone or got another vector. None where other processes write, too:
        then nobody can tell."""
        return None

    def written(self, collection: str, since: int | None) -> Written | None:
        """What was written since a moment that the answer before named. None where other processes write, too."""
        return None

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

        return EdgeStore(settings.home / "qdrant", log, codes=settings.qdrant_quantization)
    from workers.store.layout import Layout
    from workers.store.server import ServerStore

    return ServerStore.connect(settings.qdrant_url, settings.qdrant_api_key, Layout.of(settings))
