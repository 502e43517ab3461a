"""Finds copies of photos among the gallery's images, a 256th of it at a time: vectors propose, pixels decide."""

from collections.abc import Callable, Iterator

from ml.images.copies import compare
from workers.messages import Pair
from workers.process.serving import Serving
from workers.queue.jobs import Chunk
from workers.store import Hit, points_with_prefix

# Copies of every kind have the original among their 20 nearest of 1,830: benchmarks/copies.py.
_NEIGHBOURS = 20  # of each image that are looked at
_NEAREST = 4  # of them are looked at from both sides
_LEAST_SIMILARITY = 0.6
_RENEWED = 32  # images between two signs of life


def find(serving: Serving, chunk: Chunk, renew: Callable[[], None]) -> list[Pair]:
    """Pairs found by the images whose ids start with the prefixes of a chunk. Another chunk may find a pair again.

    Args:
        serving: this worker's store and gallery.
        chunk: items are of jobs.PREFIXES; `threshold` of its params is the score from which a pair counts.
        renew: called now and then, to say that work goes on.
    """
    live, threshold = serving.active(), float(chunk.params["threshold"])
    pairs = []
    for item in chunk.items:
        for number, id in enumerate(points_with_prefix(serving.store, live.collection, item.removeprefix("prefix:"))):
            if number % _RENEWED == 0:
                renew()
            serving.batcher.yield_to_searches()
            stored = serving.store.fetch(live.collection, [id], with_vectors=True).get(id)
            first = serving.appearances.of(id)
            if stored is None or stored.vector is None or first is None:
                continue
            for hit in _candidates(id, serving.store.query(live.collection, stored.vector, _NEIGHBOURS + 1)):
                second = serving.appearances.of(hit.id)
                if second is None:
                    continue
                # In order of ids, so that whoever finds a pair finds the same.
                sides = sorted([(id, stored.payload.path, first), (hit.id, hit.payload.path, second)])
                (id_1, path_1, look_1), (id_2, path_2, look_2) = sides
                if (copy := compare(look_1, look_2, score_from=threshold)) is not None:
                    pairs.append(Pair(id_1, id_2, path_1, path_2, round(hit.similarity, 6), copy.tier, copy.score))
    return pairs


def _candidates(id: str, hits: list[Hit]) -> Iterator[Hit]:
    """Those of an image's neighbours to compare it with: the others meet it when it is their turn."""
    others = [hit for hit in hits if hit.id != id and hit.similarity >= _LEAST_SIMILARITY]
    for rank, hit in enumerate(others):
        if rank < _NEAREST or hit.id > id:
            yield hit
