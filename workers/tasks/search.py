"""One search: a photo, or an image of the gallery, to ranked answers."""

import time

import numpy as np

from ml.images import decode
from workers.errors import NotFound
from workers.messages import Result, SearchResult
from workers.process.serving import Serving, ServingModel
from workers.store import Hit

_RERANKED = 100  # neighbours that re-ranking looks at


def search(
    serving: Serving,
    *,
    image: bytes | None,
    id: str | None,
    k: int,
    label: str | None,
    rerank: bool,
) -> SearchResult:
    """Finds the k images most like the query.

    Args:
        serving: models, store and limits of this worker.
        image: a photo's bytes; or
        id: of an image of the gallery, whose stored vector is the query.
        k: number of answers.
        label: only images with this label.
        rerank: reorder the nearest hundred by k-reciprocal encoding.

    Raises:
        UnreadableImage: the photo is none that we accept.
        NotFound: the image is not in the gallery.
    """
    clock, timings = time.perf_counter(), dict[str, float]()
    # The query's vector, the collection and the threshold all come from this one object: no switch falls in between.
    live = serving.active()
    if image is not None:
        pixels = live.embedder.preprocessing.apply(
            decode(image, min_side=live.embedder.preprocessing.min_side, limits=serving.limits)
        )
        clock = _lap(timings, "decode", clock)
        vector = serving.batcher.embed(live.embedder, pixels[None], urgent=True)[0]
        clock = _lap(timings, "embed", clock)
    else:
        stored = serving.store.fetch(live.collection, [id or ""], with_vectors=True).get(id or "")
        if stored is None or stored.vector is None:
            raise NotFound(f"there is no photo {id} in the gallery", hint="it may have been deleted")
        vector = stored.vector
    limit = max(k, _RERANKED) if rerank else k
    hits = serving.store.query(live.collection, vector, limit, label=label, with_vectors=rerank)
    if rerank and len(hits) > 1:
        hits = _reranked(vector, hits)
    clock = _lap(timings, "search", clock)
    results = tuple(_result(rank, hit, live) for rank, hit in enumerate(hits[:k], 1))
    return SearchResult(live.model, live.collection, results, timings)


def _reranked(query: np.ndarray, hits: list[Hit]) -> list[Hit]:
    from ml.evaluation.rerank import k_reciprocal  # scipy takes a while to import, and few searches need it

    gallery = np.stack([hit.vector for hit in hits if hit.vector is not None])
    distances = k_reciprocal(query[None], gallery)[0]
    return [hits[i] for i in np.argsort(distances, kind="stable")]


def _result(rank: int, hit: Hit, live: ServingModel) -> Result:
    similarity = float(np.clip(hit.similarity, -1.0, 1.0))
    threshold = live.embedder.bundle.threshold
    return Result(
        rank=rank,
        id=hit.id,
        path=hit.payload.path,
        label=hit.payload.label,
        similarity=round(similarity, 6),
        distance=round(float(np.sqrt(max(0.0, 2 - 2 * similarity))), 6),
        match=None if threshold is None else similarity >= threshold,
    )


def _lap(timings: dict[str, float], stage: str, since: float) -> float:
    now = time.perf_counter()
    timings[stage] = round(1000 * (now - since), 2)
    return now
