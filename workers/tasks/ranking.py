"""What the store found, as the answer to a search: reordered where that was asked, and judged."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ml.tuning.calibration import verdict
from workers.messages import Result, SearchResult
from workers.process.serving import ServingModel
from workers.store import Hit
from workers.tasks.order import AVERAGED, RERANKED, ordered


def hits_wanted(k: int, *, rerank: bool) -> int:
    """How many hits, with their vectors, an answer of k results is made of."""
    return max(k, RERANKED if rerank else AVERAGED)


def nearest(
    live: ServingModel, vector: np.ndarray, hits: list[Hit], *, k: int, label: str | None, rerank: bool
) -> SearchResult:
    """The answer to a search with one vector, of as many hits as are wanted for it, without its timings."""
    # With one label alone, hits say nothing of what else there is.
    calibration = None if label else live.calibration
    vectors = np.stack([hit.vector for hit in hits if hit.vector is not None]) if hits else vector[None, :][:0]
    said = calibration.probabilities([hit.similarity for hit in hits], vectors) if calibration else None
    likely = None if said is None else {hit.id: value for hit, value in zip(hits, said, strict=True)}
    return answer(live, ordered(vector, hits, vectors, rerank=rerank)[:k], likely, _told(live, label, likely))


def answer(live: ServingModel, hits: Sequence[Hit], likely: Mapping[str, float] | None, told: str) -> SearchResult:
    """An answer of these hits. `likely`: how likely each is right, by id; None: `told` says why not."""
    results = tuple(_result(rank, hit, (likely or {}).get(hit.id)) for rank, hit in enumerate(hits, 1))
    matches = None if likely is None else sum(result.verdict == "same" for result in results)
    return SearchResult(live.model, live.collection, results, {}, matches, told)


def _told(live: ServingModel, label: str | None, likely: Mapping[str, float] | None) -> str:
    """What probabilities were fitted on, or why there are none."""
    if label:
        return "among photos of one label nothing is said of how likely they are right"
    if live.calibration and likely is None:
        return "the gallery has too few photos to say how likely they are right"
    return live.told


def _result(rank: int, hit: Hit, probability: float | None) -> Result:
    similarity = min(1.0, max(-1.0, float(hit.similarity)))
    return Result(
        rank=rank,
        id=hit.id,
        path=hit.payload.path,
        label=hit.payload.label,
        similarity=round(similarity, 6),
        distance=round(math.sqrt(max(0.0, 2 - 2 * similarity)), 6),
        probability=None if probability is None else round(probability, 4),
        verdict=None if probability is None else verdict(probability),
    )
