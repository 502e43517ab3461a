"""How likely a hit shows the same thing as the query: a similarity made a probability.

Of the first hit, a logistic regression (Platt, 1999) sees the similarity, how far the thirtieth lies behind it, how far
the next five do, and how near the hit's own neighbours are to it: a query that is no nearer than they are to each other
is one of them. Of a later hit it sees the similarity and the same gap: what the first hit is like tells nothing of it,
since the query itself may be in the gallery. How its weights are found: ml.tuning.calibration_fit. NumPy alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

HITS = 30  # that a probability looks at
FEWEST_HITS = 7
SAME_FROM = 0.5  # more likely than not
UNLIKELY_BELOW = 0.25
SAME_IMAGE = 0.999  # such a hit is the query again, and tells nothing of the others
_OWN = 5  # neighbours of the first hit, among the others that were found


@dataclass(frozen=True)
class Calibration:
    """Weights of the facts and, last, a constant: of the first hit (four facts, or the first three of them), and of
    later ones (two, or the similarity alone).

    Args:
        first: of the first hit.
        later: of every other hit.
        classes: how many it was fitted on.
        source: what classes, in words.
        figures: `reliability` on other classes than it was fitted on. Empty where there were too few for that.
        of_gallery: weights of first and of later hits of a query that is itself in the gallery, where they differ:
            its head was fitted to photos of the gallery, which are nearer to each other than a new one is to them.
    """

    first: tuple[float, ...]
    later: tuple[float, ...]
    classes: int
    source: str
    figures: Mapping[str, float]
    of_gallery: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    def probabilities(self, similarities: Sequence[float], vectors: np.ndarray) -> list[float] | None:
        """Of each hit, that it shows the same thing as the query.

        Args:
            similarities: of the nearest, best first, `HITS` of them where the gallery has so many.
            vectors: float32 [hits, d], unit rows: theirs.

        Returns:
            One for each, in 0..1; None where there are too few to tell.
        """
        found = np.asarray(similarities, np.float64)
        copies = int((found >= SAME_IMAGE).sum())
        others = found[copies:]
        if len(others) < FEWEST_HITS:
            return None
        own = vectors[copies : copies + HITS] @ vectors[copies]
        first, later = facts_of(others[None], own[None, 1:])
        of_first, of_later = self.of_gallery if copies and self.of_gallery else (self.first, self.later)
        rest = probability_of(later[0][:, : len(of_later) - 1], of_later)
        best = probability_of(first[:, : len(of_first) - 1], of_first)
        return [1.0] * copies + [float(best[0]), *map(float, rest)]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> "Calibration":
        """The inverse of `to_json`. Raises ValueError, KeyError or TypeError for anything else."""
        first, later = _weights(facts["first"], facts["later"])
        figures = {str(name): float(value) for name, value in facts["figures"].items()}
        of_gallery = facts.get("of_gallery")  # older ones have none
        of_gallery = None if of_gallery is None else _weights(*of_gallery)
        return cls(first, later, int(facts["classes"]), str(facts["source"]), figures, of_gallery)


def verdict(probability: float) -> str:
    """same, similar or unlikely."""
    return "same" if probability >= SAME_FROM else "unlikely" if probability < UNLIKELY_BELOW else "similar"


def facts_of(similarities: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is looked at.

    Args:
        similarities: float64 [n, h], of hits, best first.
        own: float64 [n, at most h - 1], of the first hit to the others.

    Returns:
        Facts of first hits, float64 [n, 4], and of later ones, float64 [n, h - 1, 2].
    """
    last = similarities[:, min(HITS, similarities.shape[1]) - 1, None]
    best, rest = similarities[:, :1], similarities[:, 1:]
    lead = best - similarities[:, 1:6].mean(1, keepdims=True)
    near = -np.sort(-own, axis=1)[:, :_OWN].mean(1, keepdims=True)
    first = np.concatenate([best, best - last, lead, near], axis=1)
    return first, np.stack([rest, rest - last], axis=2)


def probability_of(facts: np.ndarray, weights: Sequence[float]) -> np.ndarray:
    """Facts [n, f] to probabilities [n]. Of the weights, the last is the constant."""
    said: np.ndarray = 1 / (1 + np.exp(-np.clip(facts @ np.array(weights[:-1]) + weights[-1], -30, 30)))
    return said


def _weights(first: Sequence[Any], later: Sequence[Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    of_first, of_later = (tuple(float(weight) for weight in weights) for weights in (first, later))
    if len(of_first) not in (4, 5) or len(of_later) not in (2, 3) or not np.isfinite([*of_first, *of_later]).all():
        raise ValueError("a calibration has 4 or 5 finite weights of the first hit, and 2 or 3 of later ones")
    return of_first, of_later
