"""Fits how likely hits are right (ml.tuning.calibration), by classes that no training saw.

Half of the classes are taken away from the gallery, so that half of the queries have no answer there, and a logistic
regression learns when a hit is right. How good that is, is measured on classes that it was not fitted on. Galleries
with few photos of each thing are wrong more often at the same similarity; what is to serve galleries of any kind is
fitted on many kinds. Where a head was fitted to the gallery, its photos ask as new ones would: ml.tuning.left_out.
NumPy alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ml.errors import LookalikeError
from ml.statistics.reliability import Judged
from ml.tuning.calibration import FEWEST_HITS, HITS, SAME_FROM, Calibration, facts_of, probability_of

FEWEST_CLASSES = 6
FEWEST_TO_MEASURE = 2 * FEWEST_CLASSES
_RANKS = 6  # of which later hits are learned
_DRAWS = 8
# Kinds of galleries: photos of each class, and classes; 0 for all that there are, and for half of them.
_KINDS = ((2, 0), (3, 0), (6, 0), (12, 0), (0, 0), (0, 0), (12, 4), (0, 4))
_OF_A_KIND = 4000  # hits, at most
_RIDGE = 1.0

Asking = tuple[np.ndarray, np.ndarray]  # similarities float32 [n, n], and bool [n]: which rows ask


class TooFewClasses(LookalikeError):
    """Nothing can be said of how likely hits are right."""


def fit(
    vectors: np.ndarray, labels: np.ndarray, *, source: str, seed: int = 0, as_new: Asking | None = None
) -> Calibration:
    """Fits on all classes; its figures are of each half of them, fitted on the other half.

    Args:
        vectors: float32 [n, d], unit rows.
        labels: int64 [n], of classes that no training saw.
        source: what classes, in words.
        seed: of which classes are taken away.
        as_new: where the head was fitted to these very photos: float32 [n, n], the similarity that one (row) would have
            to the others if it were new, and bool [n], which of them ask. None: all of them do, as they are.

    Raises:
        TooFewClasses: fewer than `FEWEST_CLASSES` with two images, or too few images.
    """
    classes = _of_two(labels)
    if len(classes) < FEWEST_CLASSES or np.isin(labels, classes).sum() < 4 * FEWEST_HITS:
        raise TooFewClasses(
            f"{FEWEST_CLASSES} classes that training did not see must have two photos each, {len(classes)} do",
            hint="label more photos",
        )
    is_measured = len(classes) >= FEWEST_TO_MEASURE
    figures = reliability(cross_fitted(vectors, labels, seed=seed, as_new=as_new)) if is_measured else {}
    known = np.flatnonzero(np.isin(labels, classes))

    def weights(photos: _Photos) -> tuple[tuple[float, ...], tuple[float, ...]]:
        first, first_right, later, later_right = photos.of(known).draw(np.random.default_rng(seed))
        return _logistic(first, first_right), _logistic(later, later_right)

    of_gallery = None if as_new is None else weights(_Photos.of_vectors(vectors, labels))
    return Calibration(*weights(_Photos.of_vectors(vectors, labels, as_new)), len(classes), source, figures, of_gallery)


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
    photos = _Photos.of_vectors(vectors, labels)
    drawn = [photos.draw(dice, of_each, count) for of_each, count in _KINDS]
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
    first, later = facts_of(np.take_along_axis(similarity, order, 1), among[order[:, :1], order[:, 1:]])
    is_right = gallery_labels[order] == labels[:, None]
    of_later = later[:, : _RANKS - 1].reshape(-1, later.shape[2])
    return first, is_right[:, 0], of_later, is_right[:, 1:_RANKS].ravel()


def cross_fitted(vectors: np.ndarray, labels: np.ndarray, *, seed: int = 0, as_new: Asking | None = None) -> Judged:
    """What is said of first hits where half of the classes are absent: of each half of the classes by what was fitted
    on the other one, several times with others absent.

    Args:
        vectors: float32 [n, d], unit rows.
        labels: int64 [n].
        seed: of the halves, and of which classes are taken away.
        as_new: as `fit` takes it.

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
    photos = _Photos.of_vectors(vectors, labels, as_new)
    parts = [photos.of(np.flatnonzero(np.isin(labels, half))) for half in (order[::2], order[1::2])]
    said, right, asked_labels = [], [], []
    for learned, asked in (parts, parts[::-1]):
        first, is_right, *_ = learned.draw(dice)
        weights = _logistic(first, is_right)
        first, is_right, *_ = asked.draw(dice)
        said.append(probability_of(first, weights))
        right.append(is_right)
        asked_labels.append(np.tile(asked.labels[asked.asks], _DRAWS))
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


@dataclass(frozen=True, eq=False)
class _Photos:
    """Photos that ask each other.

    Args:
        asking: float32 [n, n], similarity of each that asks (row) to the others.
        among: float32 [n, n], within a gallery.
        labels: int64 [n].
        asks: bool [n], which of them ask.
    """

    asking: np.ndarray
    among: np.ndarray
    labels: np.ndarray
    asks: np.ndarray

    @classmethod
    def of_vectors(cls, vectors: np.ndarray, labels: np.ndarray, as_new: Asking | None = None) -> "_Photos":
        among = vectors @ vectors.T
        asking, asks = (among, np.ones(len(labels), bool)) if as_new is None else as_new
        return cls(asking, among, labels, asks)

    def of(self, rows: np.ndarray) -> "_Photos":
        """Some of them, by their positions."""
        both = np.ix_(rows, rows)
        return _Photos(self.asking[both], self.among[both], self.labels[rows], self.asks[rows])

    def draw(self, dice: np.random.Generator, of_each: int = 0, count: int = 0) -> Drawn:
        """Facts of hits and whether they are right, half of the classes that are asked for absent: of first hits, and
        of later ones. `of_each`: photos that the gallery has of each class; 0 for all. `count`: of its classes; 0 for
        half."""
        drawn, labels = [], self.labels
        classes = np.unique(labels)
        for _ in range(_DRAWS):
            shuffled_classes = dice.permutation(classes)
            present = count or (len(classes) + 1) // 2
            own = np.flatnonzero(np.isin(labels, shuffled_classes[:present]))
            asking = np.flatnonzero(self.asks & np.isin(labels, shuffled_classes[: 2 * present]))
            if of_each:
                shuffled = dice.permutation(own)
                own = np.concatenate([shuffled[labels[shuffled] == c][:of_each] for c in np.unique(labels[own])])
            similarity = self.asking[np.ix_(asking, own)].astype(np.float64)
            similarity[asking[:, None] == own] = -np.inf  # no photo is its own answer
            among = self.among[np.ix_(own, own)].astype(np.float64)
            drawn.append(judged_hits(similarity, among, labels[asking], labels[own]))
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
