"""k-reciprocal re-ranking: neighbours who are each other's neighbours move up (Zhong et al., CVPR 2017).

Works on sparse matrices: of n images each keeps a few dozen neighbours, so 5,000 x 5,000 takes seconds. The same
function re-ranks a whole evaluation and the nearest few hundred of one live search.
"""

import numpy as np
from scipy import sparse

_CHUNK = 1024


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
        encoding = (_indicator(neighbours[:, :k2], len(images)) / np.float32(k2)) @ encoding
    return _mixed(images, encoding.tocsr(), farthest, len(query), columns, lambda_)


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


def _encode(images: np.ndarray, neighbours: np.ndarray, farthest: np.ndarray, k1: int) -> sparse.csr_array:
    """Each image as weights over its expanded k-reciprocal neighbours, rows summing to 1: float32 [n, n]."""
    count = len(images)
    wide = _reciprocal(neighbours[:, : k1 + 1], count)
    narrow = _reciprocal(neighbours[:, : round(k1 / 2) + 1], count)
    sizes = np.asarray(narrow.sum(axis=1)).ravel()
    # Equation 5: a neighbour's own (narrow) neighbours join if more than two thirds of them are in already.
    overlap = (wide @ narrow.T).multiply(wide).tocoo()
    is_joined = overlap.data > 2 / 3 * sizes[overlap.col]
    joined = sparse.csr_array(
        (np.ones(int(is_joined.sum()), np.float32), (overlap.row[is_joined], overlap.col[is_joined])), (count, count)
    )
    expanded = (wide + joined @ narrow).tocoo()
    row, column = expanded.row, expanded.col
    distance = np.empty(len(row), np.float32)
    for start in range(0, len(row), 2**18):
        part = slice(start, start + 2**18)
        dot = np.einsum("nd,nd->n", images[row[part]], images[column[part]])
        distance[part] = _squared(dot) / farthest[row[part]]
    weights = sparse.csr_array((np.exp(-distance), (row, column)), (count, count))
    total = np.asarray(weights.sum(axis=1)).ravel()
    return sparse.csr_array(sparse.diags_array((1 / total).astype(np.float32)) @ weights)


def _reciprocal(neighbours: np.ndarray, count: int) -> sparse.csr_array:
    """1 where two images are among each other's neighbours: float32 [n, n]."""
    forward = _indicator(neighbours, count)
    return sparse.csr_array(forward.multiply(forward.T))


def _indicator(neighbours: np.ndarray, count: int) -> sparse.csr_array:
    rows = np.repeat(np.arange(len(neighbours)), neighbours.shape[1])
    return sparse.csr_array((np.ones(neighbours.size, np.float32), (rows, neighbours.ravel())), (count, count))


def _mixed(
    images: np.ndarray,
    encoding: sparse.csr_array,
    farthest: np.ndarray,
    queries: int,
    columns: slice,
    lambda_: float,
) -> np.ndarray:
    """Jaccard distance of the encodings of queries and gallery, mixed with their first distance."""
    gallery = encoding[columns].tocsc()
    result = np.empty((queries, gallery.shape[0]), np.float32)
    for start in range(0, queries, _CHUNK):
        stop = min(start + _CHUNK, queries)
        result[start:stop] = _squared(images[start:stop] @ images[columns].T) / farthest[start:stop, None] * lambda_
    starts = gallery.indptr
    for row in range(queries):
        own = slice(encoding.indptr[row], encoding.indptr[row + 1])
        positions, weights = encoding.indices[own], encoding.data[own]
        lengths = starts[positions + 1] - starts[positions]
        # The entries of all of the row's columns, one after another.
        where = np.repeat(starts[positions] - np.r_[0, lengths.cumsum()[:-1]], lengths) + np.arange(lengths.sum())
        shared = np.minimum(np.repeat(weights, lengths), gallery.data[where])
        overlap = np.bincount(gallery.indices[where], shared, minlength=gallery.shape[0])
        # Rows sum to 1, so that the union is 2 minus the overlap.
        result[row] += (1 - overlap / (2 - overlap)) * (1 - lambda_)
    return result


def _squared(dot: np.ndarray) -> np.ndarray:
    """Squared distances of unit vectors from their inner products."""
    distances: np.ndarray = np.maximum(2 - 2 * dot, 0)
    return distances
