"""One search: a photo, or an image of the gallery, to ranked answers."""

import time
from dataclasses import dataclass, field

import numpy as np

from ml.decoders import Prepared, Work
from ml.tuning.calibration import HITS, verdict
from workers.errors import NotFound
from workers.messages import Result, SearchResult
from workers.process.serving import Serving, ServingModel
from workers.process.slow_searches import Later
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
) -> SearchResult | Later:
    """Finds the k images most like the query.

    Args:
        serving: models, store and limits of this worker.
        image: a photo's bytes; or
        id: of an image of the gallery, whose stored vector is the query.
        k: number of answers.
        label: only images with this label.
        rerank: reorder the nearest hundred by k-reciprocal encoding.

    Returns:
        What was found; or the rest of the search, if the photo takes long to decode.

    Raises:
        UnreadableImage: the photo is none that we accept.
        NotFound: the image is not in the gallery.
    """
    # The query's vector, the collection and the calibration all come from this one object: no switch falls in between.
    query = _Query(serving, serving.active(), k, label, rerank, time.perf_counter())
    if image is None:
        return query.by_id(id or "")
    prepared = serving.decoders.decode_quickly(image, Work(query.live.embedder.preprocessing, limits=serving.limits))
    if isinstance(prepared, Prepared):
        return query.by_pixels(prepared.pixels)
    rest = prepared.finish

    def finish() -> SearchResult:
        pixels = rest().pixels
        with serving.batcher.searching():
            return query.by_pixels(pixels)

    return Later(finish, len(image))


@dataclass
class _Query:
    """A search under way. `clock` is when its current stage began."""

    serving: Serving
    live: ServingModel
    k: int
    label: str | None
    rerank: bool
    clock: float
    timings: dict[str, float] = field(default_factory=dict)

    def by_pixels(self, pixels: np.ndarray) -> SearchResult:
        self._lap("decode")
        vector = self.serving.batcher.embed(self.live.embedder, pixels[None], urgent=True)[0]
        self._lap("embed")
        return self._nearest(vector)

    def by_id(self, id: str) -> SearchResult:
        stored = self.serving.store.fetch(self.live.collection, [id], with_vectors=True).get(id)
        if stored is None or stored.vector is None:
            raise NotFound(f"there is no photo {id} in the gallery", hint="it may have been deleted")
        return self._nearest(stored.vector)

    def _nearest(self, vector: np.ndarray) -> SearchResult:
        # With one label alone, hits say nothing of what else there is.
        calibration = None if self.label else self.live.calibration
        limit = max(self.k, _RERANKED if self.rerank else 0, HITS + 1 if calibration else 0)
        hits = self.serving.store.query(self.live.collection, vector, limit, label=self.label, with_vectors=self.rerank)
        said = calibration.probabilities([hit.similarity for hit in hits]) if calibration else None
        likely = {} if said is None else {hit.id: value for hit, value in zip(hits, said, strict=True)}
        if self.rerank and len(hits) > 1:
            hits = _reranked(vector, hits)
        self._lap("search")
        results = tuple(_result(rank, hit, likely.get(hit.id)) for rank, hit in enumerate(hits[: self.k], 1))
        matches = None if said is None else sum(result.verdict == "same" for result in results)
        return SearchResult(self.live.model, self.live.collection, results, self.timings, matches, self._told(said))

    def _told(self, said: list[float] | None) -> str:
        """What probabilities were fitted on, or why there are none."""
        if self.label:
            return "among photos of one label nothing is said of how likely they are right"
        if self.live.calibration and said is None:
            return "the gallery has too few photos to say how likely they are right"
        return self.live.told

    def _lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.timings[stage] = round(1000 * (now - self.clock), 2)
        self.clock = now


def _reranked(query: np.ndarray, hits: list[Hit]) -> list[Hit]:
    from ml.evaluation.rerank import k_reciprocal  # scipy takes a while to import, and few searches need it

    gallery = np.stack([hit.vector for hit in hits if hit.vector is not None])
    distances = k_reciprocal(query[None], gallery)[0]
    return [hits[i] for i in np.argsort(distances, kind="stable")]


def _result(rank: int, hit: Hit, probability: float | None) -> Result:
    similarity = float(np.clip(hit.similarity, -1.0, 1.0))
    return Result(
        rank=rank,
        id=hit.id,
        path=hit.payload.path,
        label=hit.payload.label,
        similarity=round(similarity, 6),
        distance=round(float(np.sqrt(max(0.0, 2 - 2 * similarity))), 6),
        probability=None if probability is None else round(probability, 4),
        verdict=None if probability is None else verdict(probability),
    )
