"""A linear map fitted to a gallery without labels: on views of its own photos, and on pairs that these help to find.

In which directions an image and its views differ (ml.tuning.views) says what varies without meaning: position, scale,
angle. Those directions are scaled down by the inverse square root of the differences' covariance, shrunk towards its
mean variance. This is within-class whitening, as of relevant component analysis (Shental et al., ECCV 2002), whose
chunklets cannot be wrong, however few photos a gallery holds of each thing.

Among vectors that went through that map, two photos that are each other's nearest neighbours mostly show the same
thing. Their differences tell of light, background and hands, which no view shows. Such pairs may be wrong, and a photo
has more true neighbours the larger a gallery is. So the views' covariance stands for `PRIOR_PAIRS` pairs, and how many
neighbours may propose grows with the gallery. Where labels taught the head, it is believed more, and so are more
neighbours, as far as held-out classes confirm that: `Scheme`. Figures behind the constants:
docs/explanation/tuning.md. NumPy alone.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from ml.errors import LookalikeError
from ml.model.head import Head, LinearMap, unit_length

FEWEST_PHOTOS = 30  # no smaller gallery was measured
SAMPLE = 1024  # photos that are varied, and whose pairs are taken
_VIEWS = 2048  # in all, in small galleries
_FEWEST_VIEWS, _MOST_VIEWS = 4, 16  # of one photo
PRIOR_PAIRS = 1000.0  # that the views stand for
_CHUNK = 1024


@dataclass(frozen=True)
class Scheme:
    """How far a gallery is believed.

    Args:
        shrinkage: what is added to the covariance, as a multiple of its mean variance: the weight of the head as it
            is, which labels may have taught, beside what views and pairs say.
        photos_a_neighbour: of a gallery, for each neighbour that may propose a photo.
        most_neighbours: however large the gallery is.
    """

    shrinkage: float = 0.25
    photos_a_neighbour: int = 50
    most_neighbours: int = 6

    def neighbours(self, photos: int) -> int:
        """How many nearest neighbours of a photo may be its partners, in a gallery of so many."""
        return min(self.most_neighbours, max(1, photos // self.photos_a_neighbour))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    @classmethod
    def of(cls, lineage: Mapping[str, Any]) -> "Scheme":
        """What held-out classes confirmed when a model was trained, by its lineage; without any, the one that needs no
        labels."""
        confirmed = (lineage.get(CONFIRMED) or {}).get("scheme")
        return UNLABELLED if confirmed is None else cls(**confirmed)


UNLABELLED = Scheme()
CONFIRMED = "confirmed_tuning"  # in a lineage


class GalleryTooSmall(LookalikeError):
    """The gallery holds too little to learn from."""


@dataclass(frozen=True)
class GalleryHead:
    """What was fitted.

    Args:
        linear_map: takes unit vectors without tuning; unit length follows.
        views: how many views it was fitted on.
        pairs: how many pairs of photos.
        neighbours: how many neighbours of a photo could propose it; 0 for a head fitted on views alone.
        view_share: with what weight the d d' of one difference d of two views stands in the covariance, whose mean
            variance is 1: ml.tuning.left_out takes some out.
        pair_share: that of one difference of a pair.
        alike: int64 [p, 2], positions of the pairs' photos; empty where the caller knows them.
    """

    linear_map: LinearMap
    views: int
    pairs: int = 0
    neighbours: int = 0
    view_share: float = 0.0
    pair_share: float = 0.0
    alike: np.ndarray = field(default_factory=lambda: np.empty((0, 2), np.int64))


class Differences:
    """The covariance of a variation: the mean of d d' / 2 over differences d of two vectors that mean the same."""

    def __init__(self, dim: int) -> None:
        self._sum = np.zeros((dim, dim))
        self.count = 0

    def add(self, rows: np.ndarray) -> None:
        """float32 [n, dim]."""
        for start in range(0, len(rows), _CHUNK):
            part = rows[start : start + _CHUNK]
            self._sum += part.T @ part
        self.count += len(rows)

    def covariance(self) -> np.ndarray:
        """float64 [dim, dim]; zeros without a difference."""
        covariance: np.ndarray = self._sum / max(1, 2 * self.count)
        return covariance


def check_size(photos: int) -> None:
    """Raises GalleryTooSmall when a gallery of so many photos is not to be tuned to."""
    if photos < FEWEST_PHOTOS:
        raise GalleryTooSmall(
            f"a gallery must have at least {FEWEST_PHOTOS} photos to be tuned to, this one has {photos}",
            hint="index more photos first",
        )


def views_for(photos: int) -> int:
    """How many views of each photo to draw, in a gallery of so many."""
    return max(_FEWEST_VIEWS, min(_MOST_VIEWS, math.ceil(_VIEWS / photos)))


def fit(
    mean: np.ndarray,
    views: Differences,
    pairs: Differences | None = None,
    neighbours: int = 0,
    scheme: Scheme = UNLABELLED,
) -> GalleryHead:
    """Fits the map.

    Args:
        mean: float [d], of the gallery's vectors without tuning; becomes the centre.
        views: differences between images and their views.
        pairs: differences between two photos that are taken to show the same thing.
        neighbours: that proposed these; to be noted.
        scheme: for its shrinkage.

    Raises:
        GalleryTooSmall: no view differs from its image.
    """
    covariance = views.covariance()
    variance = float(np.trace(covariance)) / len(mean)
    if variance <= 0:
        raise GalleryTooSmall("no view of a photo differs from the photo", hint="index other photos")
    found, of_one = 0 if pairs is None else pairs.count, 0.0
    if pairs is not None and found:
        of_pairs = pairs.covariance()
        # Two photos differ more than two views. What counts is in which directions they do.
        of_one = len(mean) / max(float(np.trace(of_pairs)), 1e-12)
        of_pairs *= variance * of_one
        covariance = (found * of_pairs + PRIOR_PAIRS * covariance) / (found + PRIOR_PAIRS)
    # float32: twice as fast, and what is added to every value is far above its rounding.
    values, axes = np.linalg.eigh((covariance / variance).astype(np.float32))
    scales = 1 / np.sqrt(np.maximum(values, 0.0) + np.float32(scheme.shrinkage))
    scales /= scales.max()  # lengths do not matter: in float32, numbers around 1 do best
    weight = (axes * scales) @ axes.T
    linear_map = LinearMap(weight, (-weight @ mean).astype(np.float32))
    of_view = PRIOR_PAIRS / (2 * views.count * variance * (found + PRIOR_PAIRS))
    return GalleryHead(linear_map, views.count, found, neighbours, of_view, of_one / (2 * (found + PRIOR_PAIRS)))


def mutual_pairs(tuned: np.ndarray, neighbours: int) -> np.ndarray:
    """int64 [p, 2], positions: the smaller first, each pair once, in order.

    Args:
        tuned: float32 [n, d], unit rows: a whole gallery through the map of its views.
        neighbours: how many nearest may propose one another.
    """
    nearest = nearest_neighbours(tuned, min(neighbours, len(tuned) - 1))
    known = [frozenset(row) for row in nearest.tolist()]
    found = [(i, j) for i, row in enumerate(known) for j in sorted(row) if i < j and i in known[j]]
    return np.array(found, np.int64).reshape(-1, 2)


def partners(tuned: np.ndarray, neighbours: int) -> list[int]:
    """Positions of those that are mutual nearest neighbours of the first.

    Args:
        tuned: float32 [n, d], unit rows: a photo and what surrounds it, through the map of its views.
        neighbours: how many nearest may propose one another.
    """
    nearest = nearest_neighbours(tuned, min(neighbours, len(tuned) - 1))
    return [int(other) for other in nearest[0] if 0 in nearest[other]]


def nearest_neighbours(vectors: np.ndarray, count: int) -> np.ndarray:
    """Exact: int64 [n, count], positions of each row's nearest others, without order; `count` below n.

    Args:
        vectors: float32 [n, d], unit rows.
        count: how many.
    """
    nearest = np.empty((len(vectors), count), np.int64)
    for start in range(0, len(vectors) if count else 0, _CHUNK):
        similarity = vectors[start : start + _CHUNK] @ vectors.T
        similarity[np.arange(len(similarity)), np.arange(start, start + len(similarity))] = -np.inf
        nearest[start : start + _CHUNK] = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
    return nearest


def fit_gallery(vectors: np.ndarray, views: Sequence[np.ndarray], scheme: Scheme = UNLABELLED) -> GalleryHead:
    """All of it in memory, with exact neighbours.

    Args:
        vectors: float32 [n, d], unit rows without tuning, of the whole gallery.
        views: float32 [m, d] each: of one view of each of the first m of them; all of them, as a rule.
        scheme: how far they are believed.

    Raises:
        GalleryTooSmall: there is nothing to learn from.
    """
    check_size(len(vectors))
    mean = vectors.mean(axis=0)
    of_views, of_pairs = Differences(vectors.shape[1]), Differences(vectors.shape[1])
    for view in views:
        of_views.add(view - vectors[: len(view)])
    count = scheme.neighbours(len(vectors))
    pairs = mutual_pairs(through(fit(mean, of_views, scheme=scheme).linear_map)(vectors), count)
    of_pairs.add(vectors[pairs[:, 0]] - vectors[pairs[:, 1]])
    return replace(fit(mean, of_views, of_pairs, count, scheme), alike=pairs)


def through(linear_map: LinearMap) -> "Conversion":
    """Unit rows without tuning, float32 [n, d], to unit rows through the map, many at a time."""
    return Conversion(Head(False), Head(False, tuning=(linear_map,)))


def share_features(first: Head, second: Head) -> bool:
    """Whether two heads on the same network differ in their tuning alone, so that a `Conversion` leads to the other."""
    one, other = first.projection, second.projection
    if first.layer_norm != second.layer_norm or (one is None) != (other is None):
        return False
    return one is None or other is None or (_equal(one.weight, other.weight) and _equal(one.bias, other.bias))


class Conversion:
    """From what a collection of one model holds to the vectors of another one, whose heads `share_features`.

    Args:
        before: the head that gave the vectors. Its tuning is undone exactly where it is square, as `fit` makes it.
        after: the other head.

    Raises:
        ValueError: the tuning cannot be undone.
    """

    def __init__(self, before: Head, after: Head) -> None:
        self._undo = [_Inverse(linear_map) for linear_map in reversed(before.tuning)]
        self._maps = after.tuning

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """Unit rows, float32 [n, d], to unit rows, float32 [n, dim]: what `after` gives for the images, to rounding."""
        for undo in self._undo:
            vectors = undo(vectors)
        for linear_map in self._maps:
            mapped = vectors @ linear_map.weight.T
            vectors = unit_length(mapped if linear_map.bias is None else mapped + linear_map.bias)
        return vectors.astype(np.float32, copy=False)


class _Inverse:
    """Unit x from y = unit(W x + b), where b = -W m: x = m + a W⁻¹ y with the a > 0 that makes it unit length.

    |x|² = 1 is a quadratic equation in a. The mean m of unit vectors lies within the unit ball: one root is positive.
    """

    def __init__(self, linear_map: LinearMap) -> None:
        rows, columns = linear_map.weight.shape
        if rows != columns:
            raise ValueError(f"a map from {columns} to {rows} numbers cannot be undone")
        self._inverse = np.linalg.inv(linear_map.weight.astype(np.float64))
        self._mean = np.zeros(rows) if linear_map.bias is None else -self._inverse @ linear_map.bias

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        direction = vectors @ self._inverse.T
        square = np.einsum("nd,nd->n", direction, direction)
        half = direction @ self._mean / square
        length = -half + np.sqrt(np.maximum(half**2 + (1 - self._mean @ self._mean) / square, 0.0))
        return unit_length(self._mean + length[:, None] * direction).astype(np.float32)


def _equal(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.shape == other.shape and bool(np.array_equal(one, other))
