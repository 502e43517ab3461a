"""Similarity after every image was averaged with its neighbours: those that look alike in the same way move together.

Gallery-side averaging (Turcot and Lowe, 2009) and query expansion (alpha-QE, Radenović et al., TPAMI 2018), within the
nearest of one query: their neighbours are mostly among them, so that no second collection must be kept. k-reciprocal
re-ranking is ml.evaluation.rerank's. What each brings: benchmarks/neighbours.py. NumPy alone.
"""

import numpy as np

_POWER = 3  # of the similarity that a neighbour weighs by


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
    np.fill_diagonal(similarity, 2.0)  # first among its own, where others equal it too
    order = np.argsort(-similarity, axis=1, kind="stable")[:, : neighbours + 1]
    weights = np.zeros_like(products)
    closest = np.clip(np.take_along_axis(similarity, order, 1), 0, 1) ** _POWER
    np.put_along_axis(weights, order, closest, 1)
    lengths = np.sqrt(np.maximum(np.einsum("ij,ij->i", weights @ products, weights), 1e-24))
    weights /= lengths[:, None]  # now to averages of unit length
    likeness = weights @ with_query
    best = np.argsort(-likeness, kind="stable")[:neighbours]
    shares = np.clip(likeness[best], 0, 1) ** _POWER
    among = weights @ products @ weights[best].T
    expanded_length = np.sqrt(1 + 2 * shares @ likeness[best] + shares @ among[best] @ shares)
    found: np.ndarray = (likeness + among @ shares) / expanded_length
    return found
