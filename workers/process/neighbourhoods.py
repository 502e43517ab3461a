"""The vectors of images and what lies nearest to them, remembered and kept in step with what is written.

To find what hundreds of images have around them takes hundreds of queries, and in a large gallery a second and more. So
what was found is kept, and follows the store's writes: a point that comes is put in where it is nearer, what had one
around it that goes is found anew, and labels are read again of the images whose payload was replaced. Where other
processes write, too, nobody can tell: neighbours are remembered for a while then, and labels not at all. Safe to use
from many threads.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from workers.store import Query, Store, Written

NEAREST = 24
Vote = tuple[str, float]  # a neighbour's label, and its similarity
_AT_ONCE = 32  # queries between two looks at whether a search waits
_MOST = 1_024  # images: some 6 MB with vectors of 1,280 numbers
_MOST_LABELS = 50_000
_FOLLOWED = 1_000  # points that have come or gone; with more, to begin anew is no dearer
_LONGEST_S = 30.0  # where other processes write to the store, too


@dataclass(frozen=True)
class Neighbourhood:
    """An image's vector, float32 [d], and ids and similarities of the `NEAREST` to it, best first, itself left out."""

    vector: np.ndarray
    nearest: Sequence[tuple[str, float]]
    at: float = 0.0  # when it was found


@dataclass
class _Known:
    """What is remembered of a collection, as it was after so many writes; None: of one that others write to."""

    until: int | None = None
    found: OrderedDict[str, Neighbourhood] = field(default_factory=OrderedDict)
    labels: dict[str, str | None] = field(default_factory=dict)


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
        self._collection = ""  # the one that was asked of last; the others are forgotten
        self._known = _Known()

    def of(self, collection: str, ids: Sequence[str]) -> dict[str, Neighbourhood]:
        """id -> neighbourhood, in order, for those that exist. What is not remembered is found."""
        now = time.monotonic()
        with self._guard:
            known = self._followed(collection)
            until = known.until
            found = {id: known.found[id] for id in ids if id in known.found}
        if until is None:
            found = {id: each for id, each in found.items() if now - each.at <= _LONGEST_S}
        missing = [id for id in ids if id not in found]
        for start in range(0, len(missing), _AT_ONCE):
            self._pause()
            stored = self._store.fetch(collection, missing[start : start + _AT_ONCE], with_vectors=True)
            vectors = {id: point.vector for id, point in stored.items() if point.vector is not None}
            queries = [Query(vector, NEAREST + 1) for vector in vectors.values()]
            answers = self._store.query_batch(collection, queries) if queries else []
            for (id, vector), hits in zip(vectors.items(), answers, strict=True):
                nearest = [(hit.id, hit.similarity) for hit in hits if hit.id != id][:NEAREST]
                found[id] = Neighbourhood(vector, nearest, now)
        with self._guard:
            if known is self._known and known.until == until:  # else something was written meanwhile
                for id in found:
                    known.found[id] = found[id]
                    known.found.move_to_end(id)
                while len(known.found) > _MOST:
                    known.found.popitem(last=False)
        return {id: found[id] for id in ids if id in found}

    def votes(
        self, collection: str, around: Mapping[str, Neighbourhood], count: int, *, within: float = 2.0
    ) -> dict[str, list[Vote]]:
        """id -> label and similarity of its nearest neighbours that have a label now, `count` where there are so many.

        Args:
            collection: the collection.
            around: the images' neighbourhoods.
            count: neighbours wanted of each; of no more than that takes are labels read.
            within: cosine distance beyond which none is looked at.
        """
        near = {id: [each for each in found.nearest if 1 - each[1] <= within] for id, found in around.items()}
        votes: dict[str, list[Vote]] = {id: [] for id in around}
        for start in range(0, NEAREST, count):
            looked_at = {id: near[id][start : start + count] for id in near if len(votes[id]) < count}
            labels = self._labels(collection, {other for each in looked_at.values() for other, _ in each})
            for id, each in looked_at.items():
                votes[id] += [(label, likeness) for other, likeness in each if (label := labels[other]) is not None]
        return {id: each[:count] for id, each in votes.items()}

    def _labels(self, collection: str, ids: set[str]) -> dict[str, str | None]:
        """id -> its label; None for what has none, or does not exist."""
        with self._guard:
            known = self._followed(collection)
            until = known.until
            labels = {id: known.labels[id] for id in ids & known.labels.keys()}
        if unread := sorted(ids - labels.keys()):
            points = self._store.fetch(collection, unread)
            read = {id: points[id].payload.label if id in points else None for id in unread}
            labels |= read
            with self._guard:
                if until is not None and known is self._known and known.until == until:
                    if len(known.labels) > _MOST_LABELS:
                        known.labels.clear()
                    known.labels |= read
        return labels

    def _followed(self, collection: str) -> _Known:
        """What is remembered of a collection, in step with what was written. To be called under the guard."""
        if collection != self._collection:
            self._collection, self._known = collection, _Known()
        written = self._store.written(collection, self._known.until)
        if written is None:
            return self._known
        if written.points is None or len(written.points) > _FOLLOWED:
            self._known = _Known()
        else:
            for id in written.points | written.payloads:
                self._known.labels.pop(id, None)
            if written.points and self._known.found:
                self._follow_points(collection, written)
        self._known.until = written.until
        return self._known

    def _follow_points(self, collection: str, written: Written) -> None:
        found, changed = self._known.found, written.points or frozenset()
        for id in changed & found.keys():
            del found[id]
        points = self._store.fetch(collection, sorted(changed), with_vectors=True)
        new = {id: point.vector for id, point in points.items() if point.vector is not None}
        if not found:
            return
        vectors = np.stack([each.vector for each in found.values()])
        likeness = vectors @ np.stack(list(new.values())).T if new else np.empty((len(found), 0), np.float32)
        for (id, each), row in zip(list(found.items()), likeness, strict=True):
            is_full = len(each.nearest) == NEAREST
            farthest = each.nearest[-1][1] if is_full else -2.0
            come = [(other, float(like)) for other, like in zip(new, row, strict=True) if like > farthest]
            stayed = [pair for pair in each.nearest if pair[0] not in changed]
            if len(come) + len(stayed) < len(each.nearest):
                del found[id]  # nobody knows what lies behind those that have gone
            elif come:
                nearest = sorted([*stayed, *come], key=lambda pair: -pair[1])[:NEAREST]
                found[id] = replace(each, nearest=nearest)
