"""k-reciprocal re-ranking: neighbours who are each other's neighbours move up (Zhong et al., CVPR 2017).

Encodings are sparse: of n images each keeps a few dozen neighbours, so 5,000 x 5,000 takes seconds. The same function
re-ranks a whole evaluation and the nearest few hundred of one live search, where SciPy is not installed: its sparse
matrices would do, but weigh more than all that a worker needs besides OpenVINO.
"""

from typing import NamedTuple

import numpy as np

_CHUNK = 1024
_CHUNK_ELEMENTS = 2**23  # of a dense piece of an [n, n] matrix


def k_reciprocal(
    query: np.ndarray, gallery: np.ndarray | None = None, *, k1: int = 20, k2: int = 6, lambda_: float = 0.3
) -> np.ndarray:
    """Distances after re-ranking.

    Follows the paper and its authors' code: squared distances divided by each image's largest, k1-reciprocal
    neighbours (equations 2 and 3) with the expansion of equation 5, Gaussian weights (equation 7), local query
    expansion over k2 (equation 11), Jaccard distance (equation 10), and the mix with the first distance (equation 12).

    Args:
        query: float32 [q, d], rows of unit length.
        gallery: float32 [g, d]; None compares the queries with each other.
        k1: neighbours that must agree.
        k2: neighbours whose encodings are averaged.
        lambda_: weight of the first distance in 0..1; 1 changes no order.

    Returns:
        float32 [q, g]; smaller is nearer. With few images k1 and k2 shrink to what there is.

    Raises:
        ValueError: a parameter is out of range.
    """
    if k1 < 1 or k2 < 1 or not 0 <= lambda_ <= 1:
        raise ValueError(f"k1 {k1} and k2 {k2} must be at least 1 and lambda {lambda_} in 0..1")
    images = query if gallery is None else np.concatenate([query, gallery])
    images = np.ascontiguousarray(images, np.float32)
    columns = slice(0, len(query)) if gallery is None else slice(len(query), len(images))
    neighbours, farthest = _neighbours(images, max(k1 + 1, k2))
    encoding = _encode(images, neighbours, farthest, k1)
    k2 = min(k2, len(images))
    if k2 > 1:
        encoding = _averaged(encoding, neighbours[:, :k2])
    return _mixed(images, encoding, farthest, len(query), columns, lambda_)


class _Rows(NamedTuple):
    """A sparse matrix [n, n] row by row: row i has `values` at `columns`, both from starts[i] to starts[i + 1]."""

    starts: np.ndarray
    columns: np.ndarray
    values: np.ndarray

    def entries_of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions of all entries of some rows, one row after another; and how many each row has."""
        lengths = self.starts[rows + 1] - self.starts[rows]
        before = np.r_[0, lengths.cumsum()[:-1]]
        return np.repeat(self.starts[rows] - before, lengths) + np.arange(lengths.sum()), lengths


def _neighbours(images: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The nearest of each image, itself first: int64 [n, count]; and its largest squared distance, float32 [n]."""
    count = min(count, len(images))
    nearest = np.empty((len(images), count), np.int64)
    farthest = np.empty(len(images), np.float32)
    for start in range(0, len(images), _CHUNK):
        rows = slice(start, start + _CHUNK)
        distance = _squared(images[rows] @ images.T)
        farthest[rows] = distance.max(1)
        # An image comes first among its own neighbours, also where others equal it.
        distance[np.arange(len(distance)), np.arange(start, start + len(distance))] = -1
        near = np.argpartition(distance, count - 1, axis=1)[:, :count]
        near.sort(axis=1)
        order = np.argsort(np.take_along_axis(distance, near, 1), axis=1, kind="stable")
        nearest[rows] = np.take_along_axis(near, order, 1)
    return nearest, np.maximum(farthest, 1e-12)


def _encode(images: np.ndarray, neighbours: np.ndarray, farthest: np.ndarray, k1: int) -> _Rows:
    """Each image as weights over its expanded k-reciprocal neighbours, rows summing to 1: float32 [n, n]."""
    count = len(images)
    near, is_near = _reciprocal(neighbours[:, : k1 + 1])
    half, is_half = _reciprocal(neighbours[:, : round(k1 / 2) + 1])
    half_sizes = is_half.sum(axis=1)
    columns, lengths = [], []
    step = max(1, _CHUNK_ELEMENTS // count)
    for start in range(0, count, step):
        own, is_own = near[start : start + step], is_near[start : start + step]
        row = np.arange(len(own))[:, None]
        is_member = np.zeros((len(own), count), bool)
        is_member[row.repeat(own.shape[1], 1)[is_own], own[is_own]] = True
        # Equation 5: a neighbour's own (narrow) neighbours join if more than two thirds of them are in already.
        theirs, is_theirs = half[own], is_half[own]
        overlap = (is_member[row[:, :, None], theirs] & is_theirs).sum(axis=2)
        is_joined = (is_own & (overlap > 2 / 3 * half_sizes[own]))[:, :, None] & is_theirs
        is_member[np.broadcast_to(row[:, :, None], theirs.shape)[is_joined], theirs[is_joined]] = True
        columns.append(np.nonzero(is_member)[1])
        lengths.append(is_member.sum(axis=1))
    column, length = np.concatenate(columns), np.concatenate(lengths)
    row = np.repeat(np.arange(count), length)
    distance = np.empty(len(row), np.float32)
    for start in range(0, len(row), 2**18):
        part = slice(start, start + 2**18)
        dot = np.einsum("nd,nd->n", images[row[part]], images[column[part]])
        distance[part] = _squared(dot) / farthest[row[part]]
    weights = np.exp(-distance)
    weights /= np.bincount(row, weights, minlength=count).astype(np.float32)[row]
    return _Rows(np.r_[0, length.cumsum()], column, weights)


def _reciprocal(neighbours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The neighbours, int64 [n, k], and whether each has the image among its own, bool [n, k]."""
    is_mutual = np.empty(neighbours.shape, bool)
    for start in range(0, len(neighbours), _CHUNK):
        rows = slice(start, min(start + _CHUNK, len(neighbours)))
        is_mutual[rows] = (neighbours[neighbours[rows]] == np.arange(rows.start, rows.stop)[:, None, None]).any(axis=2)
    return neighbours, is_mutual


def _averaged(encoding: _Rows, neighbours: np.ndarray) -> _Rows:
    """Each image's encoding as the mean of its neighbours', int64 [n, k2] (equation 11)."""
    count = len(neighbours)
    columns, values, lengths = [], [], []
    step = max(1, _CHUNK_ELEMENTS // count)
    for start in range(0, count, step):
        rows = neighbours[start : start + step]
        mean = np.zeros((len(rows), count), np.float32)
        for place in range(rows.shape[1]):
            entries, each = encoding.entries_of(rows[:, place])
            # One neighbour of each row at a time: no entry is met twice, so that plain indexing adds.
            mean[np.repeat(np.arange(len(rows)), each), encoding.columns[entries]] += encoding.values[entries]
        mean /= rows.shape[1]
        row, column = np.nonzero(mean)
        columns.append(column)
        values.append(mean[row, column])
        lengths.append(np.bincount(row, minlength=len(rows)))
    return _Rows(np.r_[0, np.concatenate(lengths).cumsum()], np.concatenate(columns), np.concatenate(values))


def _transposed(encoding: _Rows, rows: slice) -> _Rows:
    """The transpose of some of the rows: float32 [n, rows]."""
    part = slice(encoding.starts[rows.start], encoding.starts[rows.stop])
    columns, count = encoding.columns[part], len(encoding.starts) - 1
    order = np.argsort(columns, kind="stable")
    row = np.repeat(np.arange(rows.stop - rows.start), np.diff(encoding.starts[rows.start : rows.stop + 1]))
    starts = np.r_[0, np.bincount(columns, minlength=count).cumsum()]
    return _Rows(starts, row[order], encoding.values[part][order])


def _mixed(
    images: np.ndarray,
    encoding: _Rows,
    farthest: np.ndarray,
    queries: int,
    columns: slice,
    lambda_: float,
) -> np.ndarray:
    """Jaccard distance of the encodings of queries and gallery, mixed with their first distance."""
    by_column = _transposed(encoding, columns)
    size = columns.stop - columns.start
    result = np.empty((queries, size), np.float32)
    for start in range(0, queries, _CHUNK):
        stop = min(start + _CHUNK, queries)
        result[start:stop] = _squared(images[start:stop] @ images[columns].T) / farthest[start:stop, None] * lambda_
    for row in range(queries):
        own = slice(encoding.starts[row], encoding.starts[row + 1])
        entries, lengths = by_column.entries_of(encoding.columns[own])
        shared = np.minimum(np.repeat(encoding.values[own], lengths), by_column.values[entries])
        overlap = np.bincount(by_column.columns[entries], shared, minlength=size)
        # Rows sum to 1, so that the union is 2 minus the overlap.
        result[row] += (1 - overlap / (2 - overlap)) * (1 - lambda_)
    return result


def _squared(dot: np.ndarray) -> np.ndarray:
    """Squared distances of unit vectors from their inner products."""
    distances: np.ndarray = np.maximum(2 - 2 * dot, 0)
    return distances
