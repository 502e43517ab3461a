"""Points that were read lately, by collection and id: to read one anew takes ten times as long as the search for it.

Of a gallery that has no more photos than fit in here, each point is read once. Who owns the points says which of them
have changed.
"""

import threading
from collections.abc import Iterable

from workers.store import Stored

MOST_BYTES = 64 * 2**20  # 12,800 photos with vectors of 1,280 numbers


class Remembered:
    """Safe to use from many threads.

    Args:
        most_bytes: of their vectors; beyond that, those that came first go.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._guard = threading.Lock()
        self._points: dict[tuple[str, str], Stored] = {}
        self._bytes = 0
        self._changes = 0

    @property
    def changes(self) -> int:
        """How often something was forgotten, for `keep`."""
        return self._changes

    def of(self, collection: str, ids: Iterable[str]) -> dict[str, Stored]:
        """id -> point, of those that are known. Their vectors are not to be written to."""
        known = self._points
        return {id: point for id in ids if (point := known.get((collection, id))) is not None}

    def keep(self, collection: str, points: Iterable[Stored], changes: int) -> None:
        """Remembers what was read, if nothing was forgotten since `changes` was: it may be of before."""
        with self._guard:
            if changes != self._changes:
                return
            for point in points:
                if (collection, point.id) not in self._points:
                    self._points[collection, point.id] = point
                    self._bytes += _size(point)
            while self._bytes > self._most_bytes:
                self._drop(next(iter(self._points)))

    def forget(self, collection: str, ids: Iterable[str] | None = None) -> None:
        """For who has changed or removed points, when that is done. None: all of the collection."""
        with self._guard:
            self._changes += 1
            gone = (
                [(collection, id) for id in ids] if ids is not None else [k for k in self._points if k[0] == collection]
            )
            for key in gone:
                self._drop(key)

    def _drop(self, key: tuple[str, str]) -> None:
        if (point := self._points.pop(key, None)) is not None:
            self._bytes -= _size(point)


def _size(point: Stored) -> int:
    return 0 if point.vector is None else point.vector.nbytes
