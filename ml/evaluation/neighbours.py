"""Similarity after every image was averaged with its neighbours: those that look alike in the same way move together.

Gallery-side averaging (Turcot and Lowe, 2009) and query expansion (alpha-QE, Radenović et al., TPAMI 2018), within the
nearest of one query: their neighbours are mostly among them, so that no second collection must be kept. k-reciprocal
re-ranking is ml.evaluation.rerank's. What each brings: benchmarks/neighbours.py. NumPy alone.
"""

import numpy as np


def averaged_similarity(query: np.ndarray, nearest: np.ndarray, *, neighbours: int = 3) -> np.ndarray:
    """How similar each of the nearest is to a query, both averaged with their neighbours.

    Args:
        query: float32 [d], of unit length.
        nearest: float32 [n, d], unit rows: what a search found.
        neighbours: with how many each is averaged; of one more than a thing has photos, strangers weigh in.

    Returns:
        float32 [n], cosines: for ranking, not as similarities to show.
    """
    if not len(nearest):
        return np.empty(0, np.float32)
    # Averages are weighed sums of rows, so that all products with them follow from those of the rows themselves.
    products, with_query = nearest @ nearest.T, nearest @ query
    similarity = products.copy()
    similarity.flat[:: len(nearest) + 1] = 2.0  # first among its own, where others equal it too
    own = np.argpartition(-similarity, min(neighbours, len(nearest) - 1), axis=1)[:, : neighbours + 1]
    each = np.arange(len(nearest))[:, None]
    weights = np.zeros_like(products)
    weights[each, own] = _weight(similarity[each, own])
    lengths = np.sqrt(np.maximum(((weights @ products) * weights).sum(1), 1e-24))
    weights /= lengths[:, None]  # now to averages of unit length
    likeness = weights @ with_query
    best = np.argsort(-likeness, kind="stable")[:neighbours]
    shares = _weight(likeness[best])
    among = weights @ products @ weights[best].T
    expanded_length = np.sqrt(1 + 2 * shares @ likeness[best] + shares @ among[best] @ shares)
    found: np.ndarray = (likeness + among @ shares) / expanded_length
    return found


def _weight(similarity: np.ndarray) -> np.ndarray:
    """What a neighbour counts: the third power of how similar it is."""
    within = np.minimum(np.maximum(similarity, 0), 1)
    cubed: np.ndarray = within * within * within
    return cubed
