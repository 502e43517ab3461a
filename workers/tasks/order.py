"""In which order hits are shown: by what their neighbours say, behind what is certain."""

from collections.abc import Sequence

import numpy as np

from ml.evaluation.neighbours import averaged_similarity
from ml.tuning.calibration import SAME_IMAGE
from workers.store import Hit

AVERAGED = 50  # of the nearest are ordered; reading their vectors takes most of the time
RERANKED = 100
_K1, _K2 = 8, 3  # of k-reciprocal re-ranking: with few photos of each thing, more are strangers


def ordered(query: np.ndarray, hits: Sequence[Hit], *, rerank: bool) -> list[Hit]:
    """Copies of the query first, then the nearest, then the others by their neighbours; the order beyond them stays.

    Args:
        query: float32 [d], of unit length.
        hits: the nearest, best first, with vectors.
        rerank: by k-reciprocal encoding; otherwise averaged with their neighbours.
    """
    near, beyond = hits[: RERANKED if rerank else AVERAGED], hits[RERANKED if rerank else AVERAGED :]
    copies = sum(hit.similarity >= SAME_IMAGE for hit in near)
    fixed = copies + 1  # so that no first answer gets worse
    if len(near) <= fixed + 1:
        return list(hits)
    vectors = np.stack([hit.vector for hit in near if hit.vector is not None])
    if rerank:
        from ml.evaluation.rerank import k_reciprocal  # few searches need it

        nearness = -k_reciprocal(query[None], vectors, k1=_K1, k2=_K2)[0]
    else:
        nearness = averaged_similarity(query, vectors)
    rest = fixed + np.argsort(-nearness[fixed:], kind="stable")
    return [*near[:fixed], *(near[n] for n in rest), *beyond]
