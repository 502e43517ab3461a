"""What is asked of Edge's engine, and what it answers, between its own types and ours."""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import qdrant_edge as edge

from workers.messages import AVERAGE, Selection
from workers.store import Hit, Payload, Stored
from workers.store.codes import oversampling
from workers.store.conditions import conditions
from workers.store.examples import Examples


def facet(engine: Any, field: str) -> dict[str, int]:
    """How many points have each value of a field, the most frequent first."""
    hits = engine.facet(edge.FacetRequest(field, limit=100_000, exact=True)).hits
    used = [hit for hit in hits if hit.count]  # labels of deleted points linger with a count of 0
    return {str(hit.value): hit.count for hit in sorted(used, key=lambda hit: (-hit.count, str(hit.value)))}


def search_params(codes: str) -> Any:
    """How a search uses codes; where there are none it is ignored."""
    factor = oversampling(codes)
    how = edge.QuantizationSearchParams(ignore=factor is None, rescore=True, oversampling=factor)
    return edge.SearchParams(quantization=how)


def label_filter(label: str | None) -> Any:
    if label is None:
        return None
    return edge.Filter(must=[edge.FieldCondition("label", match=edge.MatchValue(label))])


def selection_filter(selection: Selection) -> Any:
    made: list[Any] = []
    for each in conditions(selection):
        if each.is_missing:
            made.append(edge.IsEmptyCondition(each.key))
        elif each.value is not None:
            made.append(edge.FieldCondition(each.key, match=edge.MatchValue(each.value)))
        elif each.words is not None:
            made.append(edge.FieldCondition(each.key, match=edge.MatchText(each.words)))
        else:
            made.append(edge.FieldCondition(each.key, range=edge.RangeFloat(gte=each.at_least, lt=each.below)))
    return edge.Filter(must=made) if made else None


def target_of(target: np.ndarray | Examples) -> Any:
    if not isinstance(target, Examples):
        return edge.Query.Nearest(target.tolist())
    if target.strategy == AVERAGE:
        return edge.Query.Nearest(target.average.tolist())
    like, unlike = ([vector.tolist() for vector in each] for each in (target.like, target.unlike))
    return edge.Query.RecommendBestScore(edge.RecommendQuery(like, unlike))


def hits_of(answer: Sequence[tuple[str, Any]], points: Mapping[str, Stored] | None) -> list[Hit]:
    """Hits from ids and scored points, best first: points that are there, or with payloads that the answer holds."""
    if points is None:
        return [Hit(id, scored.score, Payload.from_json(scored.payload)) for id, scored in answer]
    there = ((scored.score, points.get(id)) for id, scored in answer)
    return [Hit(point.id, score, point.payload, point.vector) for score, point in there if point is not None]


def vector_of(vector: Sequence[float]) -> np.ndarray:
    # Half the time of np.asarray, and a search reads up to fifty.
    return np.frombuffer(struct.pack(f"{len(vector)}f", *vector), np.float32)
