"""How likely a hit shows the same thing as the query: a similarity made a probability, by classes that no training saw.

Half of the classes are taken away from the gallery, so that half of the queries have no answer there, and a logistic
regression learns when a hit is right (Platt, 1999). Of the first hit it sees the similarity, how far the thirtieth lies
behind it, and how far the next five do; of a later hit the similarity and the same gap: what the first hit is like
tells nothing of it, since the query itself may be in the gallery.
How good that is, is measured on classes that it was not fitted on. NumPy alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ml.errors import LookalikeError
from ml.statistics.reliability import Judged

FEWEST_CLASSES = 6
FEWEST_TO_MEASURE = 2 * FEWEST_CLASSES
HITS = 30  # that a probability looks at
FEWEST_HITS = 7
SAME_FROM = 0.6
UNLIKELY_BELOW = 0.25
SAME_IMAGE = 0.999  # such a hit is the query again, and tells nothing of the others
_RANKS = 6  # of which later hits are learned
_DRAWS = 8
_RIDGE = 1.0


class TooFewClasses(LookalikeError):
    """Nothing can be said of how likely hits are right."""


@dataclass(frozen=True)
class Calibration:
    """Weights of the facts and, last, a constant: of the first hit (three facts), and of
    later ones (two, or the similarity alone).

    Args:
        first: of the first hit.
        later: of every other hit.
        classes: how many it was fitted on.
        source: what classes, in words.
        figures: `reliability` on other classes than it was fitted on. Empty where there were too few for that.
    """

    first: tuple[float, ...]
    later: tuple[float, ...]
    classes: int
    source: str
    figures: Mapping[str, float]

    def probabilities(self, similarities: Sequence[float]) -> list[float] | None:
        """Of each hit, that it shows the same thing as the query.

        Args:
            similarities: of the nearest, best first, `HITS` of them where the gallery has so many.

        Returns:
            One for each, in 0..1; None where there are too few to tell.
        """
        found = np.asarray(similarities, np.float64)
        copies = int((found >= SAME_IMAGE).sum())
        others = found[copies:]
        if len(others) < FEWEST_HITS:
            return None
        first, later = _facts(others[None])
        rest = _probability(later[0][:, : len(self.later) - 1], self.later)
        return [1.0] * copies + [float(_probability(first, self.first)[0]), *map(float, rest)]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> "Calibration":
        """The inverse of `to_json`. Raises ValueError, KeyError or TypeError for anything else."""
        first, later = (tuple(float(weight) for weight in facts[name]) for name in ("first", "later"))
        if len(first) != 4 or len(later) not in (2, 3) or not np.isfinite([*first, *later]).all():
            raise ValueError("a calibration has four finite weights of the first hit, and two or three of later ones")
        figures = {str(name): float(value) for name, value in facts["figures"].items()}
        return cls(first, later, int(facts["classes"]), str(facts["source"]), figures)


def verdict(probability: float) -> str:
    """same, similar or unlikely."""
    return "same" if probability >= SAME_FROM else "unlikely" if probability < UNLIKELY_BELOW else "similar"


def fit(vectors: np.ndarray, labels: np.ndarray, *, source: str, seed: int = 0) -> Calibration:
    """Fits on all classes; its figures are of each half of them, fitted on the other half.

    Args:
        vectors: float32 [n, d], unit rows.
        labels: int64 [n], of classes that no training saw.
        source: what classes, in words.
        seed: of which classes are taken away.

    Raises:
        TooFewClasses: fewer than `FEWEST_CLASSES` with two images, or too few images.
    """
    classes = _of_two(labels)
    if len(classes) < FEWEST_CLASSES or np.isin(labels, classes).sum() < 4 * FEWEST_HITS:
        raise TooFewClasses(
            f"{FEWEST_CLASSES} classes that training did not see must have two photos each, {len(classes)} do",
            hint="label more photos",
        )
    figures = reliability(cross_fitted(vectors, labels, seed=seed)) if len(classes) >= FEWEST_TO_MEASURE else {}
    known = np.isin(labels, classes)
    first, first_right, later, later_right = _draw(vectors[known], labels[known], np.random.default_rng(seed))
    return Calibration(_logistic(first, first_right), _logistic(later, later_right), len(classes), source, figures)


def cross_fitted(vectors: np.ndarray, labels: np.ndarray, *, seed: int = 0) -> Judged:
    """What is said of first hits where half of the classes are absent: of each half of the classes by what was fitted
    on the other one, several times with others absent.

    Args:
        vectors: float32 [n, d], unit rows.
        labels: int64 [n].
        seed: of the halves, and of which classes are taken away.

    Raises:
        TooFewClasses: fewer than `FEWEST_TO_MEASURE` with two images: a half of a half must still make a gallery.
    """
    classes = _of_two(labels)
    if len(classes) < FEWEST_TO_MEASURE:
        raise TooFewClasses(
            f"to measure how true probabilities are, {FEWEST_TO_MEASURE} classes must have two photos each,"
            f" {len(classes)} do",
            hint="label more photos",
        )
    dice = np.random.default_rng(seed)
    order = dice.permutation(classes)
    parts = [np.isin(labels, half) for half in (order[::2], order[1::2])]
    said, right, asked_labels = [], [], []
    for learned, asked in (parts, parts[::-1]):
        drawn = _draw(vectors[learned], labels[learned], dice)
        first, is_right, *_ = _draw(vectors[asked], labels[asked], dice)
        said.append(_probability(first, _logistic(drawn[0], drawn[1])))
        right.append(is_right)
        asked_labels.append(np.tile(labels[asked], _DRAWS))
    return Judged(np.concatenate(said), np.concatenate(right), np.concatenate(asked_labels), SAME_FROM)


def reliability(judged: Judged) -> dict[str, float]:
    """Its figures, and from `…_low` to `…_high` where each lies in 95 of 100 draws of classes."""
    found = judged.figures()
    for name, (low, high) in judged.intervals().items():
        found |= {f"{name}_low": low, f"{name}_high": high}
    return found


def _of_two(labels: np.ndarray) -> np.ndarray:
    """The classes of two images or more."""
    values, counts = np.unique(labels, return_counts=True)
    found: np.ndarray = values[counts >= 2]
    return found


def _facts(similarities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted similarities [n, h] to the facts of first hits [n, 3] and of later ones [n, h - 1, 2]."""
    last = similarities[:, min(HITS, similarities.shape[1]) - 1, None]
    best, rest = similarities[:, :1], similarities[:, 1:]
    lead = best - similarities[:, 1:6].mean(1, keepdims=True)
    first = np.concatenate([best, best - last, lead], axis=1)
    return first, np.stack([rest, rest - last], axis=2)


def _draw(
    vectors: np.ndarray, labels: np.ndarray, dice: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Facts of hits and whether they are right, half of the classes absent: of first hits, and of later ones."""
    firsts, rights, laters, later_rights = [], [], [], []
    classes = np.unique(labels)
    for _ in range(_DRAWS):
        gallery = np.flatnonzero(np.isin(labels, dice.permutation(classes)[: (len(classes) + 1) // 2]))
        similarity = (vectors @ vectors[gallery].T).astype(np.float64)
        similarity[gallery, np.arange(len(gallery))] = -np.inf  # no photo is its own answer
        width = min(HITS, len(gallery) - 1)
        order = np.argsort(-similarity, axis=1, kind="stable")[:, :width]
        first, later = _facts(np.take_along_axis(similarity, order, 1))
        is_right = labels[gallery][order] == labels[:, None]
        firsts.append(first)
        rights.append(is_right[:, 0])
        laters.append(later[:, : _RANKS - 1].reshape(-1, later.shape[2]))
        later_rights.append(is_right[:, 1:_RANKS].ravel())
    return np.concatenate(firsts), np.concatenate(rights), np.concatenate(laters), np.concatenate(later_rights)


def _logistic(facts: np.ndarray, is_right: np.ndarray) -> tuple[float, ...]:
    """Logistic regression with a ridge on standardised facts, by Newton's steps: their weights and a constant."""
    mean, scale = facts.mean(0), facts.std(0) + 1e-9
    rows = np.c_[(facts - mean) / scale, np.ones(len(facts))]
    ridge = np.array([_RIDGE] * facts.shape[1] + [1e-3])
    weights = np.zeros(len(ridge))
    for _ in range(30):
        said = 1 / (1 + np.exp(-np.clip(rows @ weights, -30, 30)))
        gradient = rows.T @ (said - is_right) + ridge * weights
        curvature = (rows * (said * (1 - said))[:, None]).T @ rows + np.diag(ridge)
        weights -= np.linalg.solve(curvature, gradient)
    plain = weights[:-1] / scale
    return (*map(float, plain), float(weights[-1] - plain @ mean))


def _probability(facts: np.ndarray, weights: Sequence[float]) -> np.ndarray:
    """[n, facts] to [n]."""
    said: np.ndarray = 1 / (1 + np.exp(-np.clip(facts @ np.array(weights[:-1]) + weights[-1], -30, 30)))
    return said
