"""mAP@R of vectors of labelled images in NumPy, for the check before a model is published. Workers have no torch.

The same figure as `ml.evaluation.metrics.mean_average_precision_at_r`, which evaluates whole data sets in torch.
"""

import time

import numpy as np

_ROWS = 64  # queries at a time: between two lots, searches get the interpreter
_PAUSE_S = 0.002


def mean_average_precision_at_r(vectors: np.ndarray, labels: np.ndarray) -> float:
    """Each row is a query against all others; equal similarities rank in order of position.

    Args:
        vectors: float32 [n, d], rows of unit length.
        labels: int64 [n]. Rows whose label occurs once have no answer and are left out.

    Returns:
        In [0, 1] (Musgrave et al., "A Metric Learning Reality Check", ECCV 2020).

    Raises:
        ValueError: no label occurs twice.
    """
    _, numbers, counts = np.unique(labels, return_inverse=True, return_counts=True)
    relevant = counts[numbers] - 1
    width = int(relevant.max(initial=0))
    if width < 1:
        raise ValueError("no label occurs twice")
    positions = np.arange(1, width + 1)
    total = 0.0
    for start in range(0, len(vectors), _ROWS):
        rows = np.arange(start, min(start + _ROWS, len(vectors)))
        similarity = vectors[rows] @ vectors.T
        similarity[np.arange(len(rows)), rows] = -np.inf
        nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :width]
        wanted = relevant[rows, None]
        is_hit = (labels[nearest] == labels[rows, None]) & (positions <= wanted)
        precision = is_hit.cumsum(axis=1) / positions
        total += float(((precision * is_hit).sum(axis=1) / np.maximum(wanted[:, 0], 1)).sum())
        time.sleep(_PAUSE_S)
    return total / int((relevant > 0).sum())
