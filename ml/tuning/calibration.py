"""How likely a hit shows the same thing as the query: a similarity made a probability, by classes that no training saw.

Half of the classes are taken away from the gallery, so that half of the queries have no answer there, and a logistic
regression learns when a hit is right (Platt, 1999). Of the first hit it sees the similarity, how far the thirtieth lies
behind it, how far the next five do, and how near the hit's own neighbours are to it: a query that is no nearer than
they are to each other is one of them. Of a later hit it sees the similarity and the same gap: what the first hit is
like tells nothing of it, since the query itself may be in the gallery.
How good that is, is measured on classes that it was not fitted on. Galleries with few photos of each thing are wrong
more often at the same similarity; what is to serve galleries of any kind is fitted on many kinds. NumPy alone.
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
SAME_FROM = 0.5  # more likely than not
UNLIKELY_BELOW = 0.25
SAME_IMAGE = 0.999  # such a hit is the query again, and tells nothing of the others
_OWN = 5  # neighbours of the first hit, among the others that were found
_RANKS = 6  # of which later hits are learned
_DRAWS = 8
# Kinds of galleries: photos of each class, and classes; 0 for all that there are, and for half of them.
_KINDS = ((2, 0), (3, 0), (6, 0), (12, 0), (0, 0), (0, 0), (12, 4), (0, 4))
_OF_A_KIND = 4000  # hits, at most
_RIDGE = 1.0


class TooFewClasses(LookalikeError):
    """Nothing can be said of how likely hits are right."""


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
    """

    first: tuple[float, ...]
    later: tuple[float, ...]
    classes: int
    source: str
    figures: Mapping[str, float]

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
        first, later = _facts(others[None], own[None, 1:])
        rest = _probability(later[0][:, : len(self.later) - 1], self.later)
        best = _probability(first[:, : len(self.first) - 1], self.first)
        return [1.0] * copies + [float(best[0]), *map(float, rest)]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> "Calibration":
        """The inverse of `to_json`. Raises ValueError, KeyError or TypeError for anything else."""
        first, later = (tuple(float(weight) for weight in facts[name]) for name in ("first", "later"))
        if len(first) not in (4, 5) or len(later) not in (2, 3) or not np.isfinite([*first, *later]).all():
            raise ValueError("a calibration has 4 or 5 finite weights of the first hit, and 2 or 3 of later ones")
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


def fit_for_any(vectors: np.ndarray, labels: np.ndarray, *, source: str, seed: int = 0) -> Calibration:
    """Fits constants for galleries of which nothing is known: on some with two photos of each class up to all of them,
    and with four classes up to half of them.

    How far the thirtieth lies behind depends on how large a gallery is, and is not looked at.

    Args:
        vectors: float32 [n, d], unit rows.
        labels: int64 [n], of classes that no training saw.
        source: what classes, in words.
        seed: of what is drawn.
    """
    dice = np.random.default_rng(seed)
    drawn = [_draw(vectors, labels, dice, of_each, count) for of_each, count in _KINDS]
    return constants(drawn, classes=len(np.unique(labels)), source=source, seed=seed)


Drawn = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def constants(drawn: Sequence[Drawn], *, classes: int, source: str, seed: int = 0) -> Calibration:
    """Fits to hits of galleries of several kinds, each of which counts as much as any other.

    Args:
        drawn: of each, what `judged_hits` gives.
        classes: how many there were.
        source: what classes, in words.
        seed: of the hits that are taken.
    """
    dice = np.random.default_rng(seed)
    fewest = [min(_OF_A_KIND, min(len(each[part]) for each in drawn)) for part in (0, 2)]
    taken = []
    for first, is_right, later, later_right in drawn:
        some, others = (dice.permutation(len(rows))[:most] for rows, most in zip((first, later), fewest, strict=True))
        taken.append((first[some][:, [0, 2, 3]], is_right[some], later[others, :1], later_right[others]))
    first, is_right, later, later_right = (np.concatenate(parts) for parts in zip(*taken, strict=True))
    best, lead, near, constant = _logistic(first, is_right)
    return Calibration((best, 0.0, lead, near, constant), _logistic(later, later_right), classes, source, {})


def judged_hits(similarity: np.ndarray, among: np.ndarray, labels: np.ndarray, gallery_labels: np.ndarray) -> Drawn:
    """Facts of hits, and whether they are right: of first hits, and of later ones.

    Args:
        similarity: float64 [n, g], of queries to a gallery; -inf where a photo would be its own answer.
        among: float64 [g, g], within the gallery.
        labels: int64 [n], of the queries.
        gallery_labels: int64 [g].
    """
    width = min(HITS, len(gallery_labels) - 1)
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :width]
    first, later = _facts(np.take_along_axis(similarity, order, 1), among[order[:, :1], order[:, 1:]])
    is_right = gallery_labels[order] == labels[:, None]
    of_later = later[:, : _RANKS - 1].reshape(-1, later.shape[2])
    return first, is_right[:, 0], of_later, is_right[:, 1:_RANKS].ravel()


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


def _facts(similarities: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted similarities [n, h], and those of the first hits to the others [n, at most h - 1], to the facts of first
    hits [n, 4] and of later ones [n, h - 1, 2]."""
    last = similarities[:, min(HITS, similarities.shape[1]) - 1, None]
    best, rest = similarities[:, :1], similarities[:, 1:]
    lead = best - similarities[:, 1:6].mean(1, keepdims=True)
    near = -np.sort(-own, axis=1)[:, :_OWN].mean(1, keepdims=True)
    first = np.concatenate([best, best - last, lead, near], axis=1)
    return first, np.stack([rest, rest - last], axis=2)


def _draw(
    vectors: np.ndarray, labels: np.ndarray, dice: np.random.Generator, of_each: int = 0, count: int = 0
) -> Drawn:
    """Facts of hits and whether they are right, half of the classes that are asked for absent: of first hits, and of
    later ones. `of_each`: photos that the gallery has of each class; 0 for all. `count`: of its classes; 0 for half.
    """
    drawn = []
    classes = np.unique(labels)
    for _ in range(_DRAWS):
        shuffled_classes = dice.permutation(classes)
        present = count or (len(classes) + 1) // 2
        gallery = np.flatnonzero(np.isin(labels, shuffled_classes[:present]))
        asking = np.flatnonzero(np.isin(labels, shuffled_classes[: 2 * present]))
        if of_each:
            shuffled = dice.permutation(gallery)
            gallery = np.concatenate([shuffled[labels[shuffled] == c][:of_each] for c in np.unique(labels[gallery])])
        similarity = (vectors @ vectors[gallery].T).astype(np.float64)
        similarity[gallery, np.arange(len(gallery))] = -np.inf  # no photo is its own answer
        among = (vectors[gallery] @ vectors[gallery].T).astype(np.float64)
        drawn.append(judged_hits(similarity[asking], among, labels[asking], labels[gallery]))
    first, is_right, later, later_right = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    return first, is_right, later, later_right


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
