"""The latest writes to the collections of one process, for whoever keeps something made of them in step."""

import threading
from collections import Counter, defaultdict, deque
from collections.abc import Iterable

from workers.store import Written

_LATEST = 512  # writes of a collection, of some hundred ids at most


class WriteLog:
    """Safe to use from many threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._writes: Counter[str] = Counter()
        self._points: Counter[str] = Counter()
        self._latest: dict[str, deque[tuple[frozenset[str] | None, bool]]] = defaultdict(lambda: deque(maxlen=_LATEST))

    def note(self, collection: str, ids: Iterable[str] | None, *, of_points: bool = True) -> None:
        """Called when a write has been made: what was read meanwhile is then known to be old. None: all ids."""
        with self._guard:
            self._writes[collection] += 1
            self._points[collection] += of_points
            self._latest[collection].append((None if ids is None else frozenset(ids), of_points))

    def count(self, collection: str) -> int:
        """How many writes there were."""
        return self._writes[collection]

    def count_of_points(self, collection: str) -> int:
        """Without those of payloads alone."""
        return self._points[collection]

    def since(self, collection: str, number: int | None) -> Written:
        """What was written after so many writes; None: nothing is known of what was there before."""
        with self._guard:
            until, latest = self._writes[collection], self._latest[collection]
            missed = until - number if number is not None else len(latest) + 1
            if missed > len(latest):
                return Written(until, None)
            writes = list(latest)[len(latest) - missed :]
        if any(ids is None for ids, _ in writes):
            return Written(until, None)
        points = frozenset().union(*(ids for ids, of_points in writes if of_points and ids))
        payloads = frozenset().union(*(ids for ids, of_points in writes if not of_points and ids))
        return Written(until, points, payloads - points)
