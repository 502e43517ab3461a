"""In which order hits are shown: by what their neighbours say, behind what is certain."""

from collections.abc import Sequence

import numpy as np

from ml.evaluation.neighbours import averaged_similarity
from ml.tuning.calibration import SAME_IMAGE
from workers.store import Hit

AVERAGED = 50  # of the nearest are ordered; reading their vectors takes most of the time
RERANKED = 100
_K1, _K2 = 8, 3  # of k-reciprocal re-ranking: with few photos of each thing, more are strangers


def ordered(query: np.ndarray, hits: Sequence[Hit], vectors: np.ndarray, *, rerank: bool) -> list[Hit]:
    """Copies of the query first, then the nearest, then the others by their neighbours; the order beyond them stays.

    Args:
        query: float32 [d], of unit length.
        hits: the nearest, best first.
        vectors: float32 [hits, d], unit rows: theirs.
        rerank: by k-reciprocal encoding; otherwise averaged with their neighbours.
    """
    looked_at = RERANKED if rerank else AVERAGED
    near, beyond = hits[:looked_at], hits[looked_at:]
    copies = sum(hit.similarity >= SAME_IMAGE for hit in near)
    fixed = copies + 1  # so that no first answer gets worse
    if len(near) <= fixed + 1:
        return list(hits)
    if rerank:
        from ml.evaluation.rerank import k_reciprocal  # few searches need it

        nearness = -k_reciprocal(query[None], vectors[:looked_at], k1=_K1, k2=_K2)[0]
    else:
        nearness = averaged_similarity(query, vectors[:looked_at])
    rest = fixed + np.argsort(-nearness[fixed:], kind="stable")
    return [*near[:fixed], *(near[n] for n in rest), *beyond]
