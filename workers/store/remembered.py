"""Vectors that were read lately, by collection and id: to read one anew takes ten times as long as the search for it.

Of a gallery that has no more photos than fit in here, each vector is read once. Who owns the points says which of them
have changed; nothing else does, for a vector is made of an image's bytes and a model.
"""

import threading
from collections.abc import Iterable, Mapping

import numpy as np

MOST_BYTES = 64 * 2**20  # 12,800 photos with vectors of 1,280 numbers


class Remembered:
    """Safe to use from many threads.

    Args:
        most_bytes: of vectors; beyond that, those that came first go.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._guard = threading.Lock()
        self._vectors: dict[tuple[str, str], np.ndarray] = {}
        self._bytes = 0
        self._changes = 0

    @property
    def changes(self) -> int:
        """How often something was forgotten, for `keep`."""
        return self._changes

    def of(self, collection: str, ids: Iterable[str]) -> dict[str, np.ndarray]:
        """id -> vector, of those that are known. They are not to be written to."""
        known = self._vectors
        return {id: vector for id in ids if (vector := known.get((collection, id))) is not None}

    def keep(self, collection: str, vectors: Mapping[str, np.ndarray], changes: int) -> None:
        """Remembers what was read, if nothing was forgotten since `changes` was: it may be of before."""
        with self._guard:
            if changes != self._changes:
                return
            for id, vector in vectors.items():
                if (collection, id) not in self._vectors:
                    self._vectors[collection, id] = vector
                    self._bytes += vector.nbytes
            while self._bytes > self._most_bytes:
                self._drop(next(iter(self._vectors)))

    def forget(self, collection: str, ids: Iterable[str] | None = None) -> None:
        """For who has changed or removed points, when that is done. None: all of the collection."""
        with self._guard:
            self._changes += 1
            gone = (
                [(collection, id) for id in ids]
                if ids is not None
                else [k for k in self._vectors if k[0] == collection]
            )
            for key in gone:
                self._drop(key)

    def _drop(self, key: tuple[str, str]) -> None:
        vector = self._vectors.pop(key, None)
        self._bytes -= 0 if vector is None else vector.nbytes
