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
    similarity = nearest @ nearest.T
    np.fill_diagonal(similarity, 2.0)  # first among its own, where others equal it too
    order = np.argsort(-similarity, axis=1, kind="stable")[:, : neighbours + 1]
    weights = np.clip(np.take_along_axis(similarity, order, 1), 0, 1) ** _POWER
    averaged = _unit((weights[:, :, None] * nearest[order]).sum(1))
    likeness = averaged @ query
    best = np.argsort(-likeness, kind="stable")[:neighbours]
    expanded = query + np.clip(likeness[best], 0, 1) ** _POWER @ averaged[best]
    found: np.ndarray = averaged @ _unit(expanded[None])[0]
    return found


def _unit(rows: np.ndarray) -> np.ndarray:
    unit: np.ndarray = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit
