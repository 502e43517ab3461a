"""Finds pairs of images of the gallery that are nearly the same, a 256th of it at a time."""

from collections.abc import Callable

from workers.messages import Pair
from workers.process.serving import Serving
from workers.queue.jobs import Chunk
from workers.store import points_with_prefix

_NEIGHBOURS = 20  # of each image that are looked at


def find(serving: Serving, chunk: Chunk, renew: Callable[[], None]) -> list[Pair]:
    """Pairs whose first image's id starts with the prefixes of a chunk.

    Args:
        serving: this worker's store.
        chunk: items are of jobs.PREFIXES; `threshold` of its params is the cosine from which a pair counts.
        renew: called now and then, to say that work goes on.
    """
    live, threshold = serving.active(), float(chunk.params["threshold"])
    pairs = []
    for item in chunk.items:
        for id in points_with_prefix(serving.store, live.collection, item.removeprefix("prefix:")):
            stored = serving.store.fetch(live.collection, [id], with_vectors=True).get(id)
            if stored is None or stored.vector is None:
                continue
            for hit in serving.store.query(live.collection, stored.vector, _NEIGHBOURS + 1):
                if hit.similarity < threshold:
                    break
                if hit.id > id:  # each pair once
                    pairs.append(Pair(id, hit.id, stored.payload.path, hit.payload.path, round(hit.similarity, 6)))
        renew()
    return pairs
