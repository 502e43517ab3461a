"""A linear map fitted on pairs that a gallery itself proposes: no labels, no photo embedded again.

Two photos that are each other's nearest neighbours mostly show the same thing. In which directions such pairs differ
says what varies without meaning (light, angle, background): those directions are scaled down by the inverse square root
of the pairs' covariance, shrunk towards its mean variance. This is within-class whitening, as of relevant component
analysis (Shental et al., ECCV 2002), with chunklets that are proposed instead of given.

Pairs of a gallery of small groups are often wrong, and a photo has more true neighbours the larger a gallery is. So how
many neighbours may propose grows with the gallery, few pairs are shrunk much, and a gallery of less than
`FEWEST_PHOTOS` is left as it is. The figures behind the constants are in docs/explanation/tuning.md. NumPy alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ml.errors import LookalikeError
from ml.model.head import Head, LinearMap, unit_length

FEWEST_PHOTOS = 60  # below it, one search in fifty got worse by more than chance
_PHOTOS_A_NEIGHBOUR = 60
_MOST_NEIGHBOURS = 4
_OWN_SHRINKAGE = 0.5
_PRIOR_PAIRS = 2000.0  # so many pairs weigh as much as no knowledge at all
_CHUNK = 1024


class GalleryTooSmall(LookalikeError):
    """The gallery proposes too few pairs to learn from."""


@dataclass(frozen=True)
class GalleryHead:
    """What was fitted.

    Args:
        linear_map: takes unit vectors without tuning; unit length follows.
        pairs: how many pairs it was fitted on.
        neighbours: how many neighbours of a photo could propose it.
        shrinkage: what was added to the covariance, as a multiple of its mean variance.
    """

    linear_map: LinearMap
    pairs: int
    neighbours: int
    shrinkage: float


def neighbours_for(photos: int) -> int:
    """How many nearest neighbours of a photo may be its partners, in a gallery of so many.

    Raises:
        GalleryTooSmall: fewer than `FEWEST_PHOTOS`.
    """
    if photos < FEWEST_PHOTOS:
        raise GalleryTooSmall(
            f"a gallery must have at least {FEWEST_PHOTOS} photos to be tuned to, this one has {photos}",
            hint="index more photos first",
        )
    return min(_MOST_NEIGHBOURS, photos // _PHOTOS_A_NEIGHBOUR)


def mutual_pairs(nearest: Mapping[str, Sequence[str]], seeds: Sequence[str] | None = None) -> list[tuple[str, str]]:
    """Pairs of photos that are among each other's nearest, each once, in order.

    Args:
        nearest: id -> its nearest neighbours.
        seeds: only pairs with one of these; None for all. The neighbours of theirs must be in `nearest`, too.
    """
    chosen = nearest if seeds is None else seeds
    pairs = {
        (min(id, other), max(id, other))
        for id in chosen
        for other in nearest[id]
        if other != id and id in nearest.get(other, ())
    }
    return sorted(pairs)


def nearest_neighbours(vectors: np.ndarray, count: int) -> np.ndarray:
    """Exact: int64 [n, count], positions of each row's nearest others, without order; `count` below n.

    Args:
        vectors: float32 [n, d], unit rows.
        count: how many.
    """
    nearest = np.empty((len(vectors), count), np.int64)
    for start in range(0, len(vectors), _CHUNK):
        similarity = vectors[start : start + _CHUNK] @ vectors.T
        similarity[np.arange(len(similarity)), np.arange(start, start + len(similarity))] = -np.inf
        nearest[start : start + _CHUNK] = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
    return nearest


def fit(vectors: np.ndarray, pairs: np.ndarray, neighbours: int) -> GalleryHead:
    """Fits the map.

    Args:
        vectors: float32 [n, d], unit rows without tuning; their mean becomes the centre.
        pairs: int64 [p, 2], positions of mutual neighbours.
        neighbours: that proposed them; to be noted.

    Raises:
        GalleryTooSmall: no pair, or every pair is of equal vectors.
    """
    dim = vectors.shape[1]
    covariance = np.zeros((dim, dim))
    for start in range(0, len(pairs), _CHUNK):
        part = pairs[start : start + _CHUNK]
        difference = vectors[part[:, 0]] - vectors[part[:, 1]]
        covariance += difference.T @ difference
    covariance /= max(1, 2 * len(pairs))
    variance = float(np.trace(covariance)) / dim
    if variance <= 0:
        raise GalleryTooSmall("no two photos of the gallery are alike without being the same", hint="index more photos")
    shrinkage = _OWN_SHRINKAGE + _PRIOR_PAIRS / len(pairs)
    values, axes = np.linalg.eigh(covariance)
    scales = 1 / np.sqrt(np.maximum(values, 0.0) + shrinkage * variance)
    scales /= scales.max()  # lengths do not matter: in float32, numbers around 1 do best
    weight = (axes * scales) @ axes.T
    bias = -weight @ vectors.mean(axis=0, dtype=np.float64)
    return GalleryHead(LinearMap(weight.astype(np.float32), bias.astype(np.float32)), len(pairs), neighbours, shrinkage)


def fit_gallery(vectors: np.ndarray) -> GalleryHead:
    """All of it in memory: the exact neighbours of the centred vectors, their mutual pairs, and the map.

    Args:
        vectors: float32 [n, d], unit rows without tuning, of the whole gallery.

    Raises:
        GalleryTooSmall: there is nothing to learn from.
    """
    count = neighbours_for(len(vectors))
    nearest = nearest_neighbours(unit_length(vectors - vectors.mean(axis=0)), count)
    forward = [frozenset(row) for row in nearest.tolist()]
    found = [(i, j) for i, row in enumerate(forward) for j in row if i < j and i in forward[j]]
    return fit(vectors, np.array(sorted(found), np.int64).reshape(-1, 2), count)


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
