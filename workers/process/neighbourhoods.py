"""The vectors of images and what lies nearest to them, remembered while no point comes or goes.

To find what hundreds of images have around them takes hundreds of queries, and in a large gallery most of a second;
labels, which change while people give them, are read anew each time. Safe to use from many threads.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from workers.store import Hit, Query, Store

NEAREST = 24
_AT_ONCE = 32  # queries between two looks at whether a search waits
_MOST = 1_024  # images: some 6 MB with vectors of 1,280 numbers
_LONGEST_S = 30.0  # where other processes write to the store, too


@dataclass(frozen=True)
class Neighbourhood:
    """An image's vector, float32 [d], and the `NEAREST` to it, best first, itself left out."""

    vector: np.ndarray
    hits: Sequence[Hit]


@dataclass(frozen=True)
class _Found:
    vector: np.ndarray
    nearest: Sequence[tuple[str, float]]
    version: int | None
    at: float


class Neighbourhoods:
    """Those of one worker process.

    Args:
        store: of the collections.
        pause: called now and then before more queries are made.
    """

    def __init__(self, store: Store, pause: Callable[[], None]) -> None:
        self._store = store
        self._pause = pause
        self._guard = threading.Lock()
        self._found: OrderedDict[tuple[str, str], _Found] = OrderedDict()

    def of(self, collection: str, ids: Sequence[str]) -> dict[str, Neighbourhood]:
        """id -> neighbourhood, in order, for those that exist; neighbours with what is known of them now."""
        found = self.find(collection, ids)
        near = list({id for each in found.values() for id, _ in each.nearest})
        points = self._store.fetch(collection, near)
        return {
            id: Neighbourhood(
                each.vector,
                [Hit(other, likeness, points[other].payload) for other, likeness in each.nearest if other in points],
            )
            for id, each in found.items()
        }

    def find(self, collection: str, ids: Sequence[str]) -> dict[str, _Found]:
        """Makes what is not remembered."""
        now, version = time.monotonic(), self._store.version(collection)
        found = {id: each for id in ids if (each := self._remembered(collection, id, version, now)) is not None}
        missing = [id for id in ids if id not in found]
        for start in range(0, len(missing), _AT_ONCE):
            self._pause()
            stored = self._store.fetch(collection, missing[start : start + _AT_ONCE], with_vectors=True)
            vectors = {id: point.vector for id, point in stored.items() if point.vector is not None}
            queries = [Query(vector, NEAREST + 1) for vector in vectors.values()]
            answers = self._store.query_batch(collection, queries) if queries else []
            for (id, vector), hits in zip(vectors.items(), answers, strict=True):
                nearest = tuple((hit.id, hit.similarity) for hit in hits if hit.id != id)[:NEAREST]
                found[id] = _Found(vector, nearest, version, now)
        self._remember(collection, found)
        return {id: found[id] for id in ids if id in found}

    def _remembered(self, collection: str, id: str, version: int | None, now: float) -> _Found | None:
        with self._guard:
            found = self._found.get((collection, id))
        if found is None or found.version != version or (version is None and now - found.at > _LONGEST_S):
            return None
        return found

    def _remember(self, collection: str, found: dict[str, _Found]) -> None:
        with self._guard:
            for id, each in found.items():
                self._found[collection, id] = each
                self._found.move_to_end((collection, id))
            while len(self._found) > _MOST:
                self._found.popitem(last=False)
