"""How good neighbours are: recall@k, precision@k, mAP@R, mAP, exact and in chunks.

Every function takes embeddings and labels, and compares by inner product: give unit vectors for cosine similarity, or
`binary_codes` for Hamming distance. Without a gallery every row is a query against all the others and never matches
itself (CUB-200-2011 protocol, Oh Song et al., CVPR 2016); with one, queries are looked up in it (In-Shop protocol).
Equal similarities rank in the gallery's order, so that a figure does not depend on chunks or on the device.
Comparative sets and pairs are in `ml.evaluation.pairs`.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ml.evaluation.selection import average_precisions, largest
from ml.statistics.uncertainty import ByClass

# Similarities held at a time, 128 MiB in float32; a few temporaries of the same size come with them, so that
# 60,000 x 60,000 stays far within 4 GB.
CHUNK_ELEMENTS = 2**25
# Of so many vectors among themselves all similarities are held, 1 GiB in float32, since that halves the products.
HELD_ROWS = 2**14
_BLOCK = 512  # rows, of those

KS = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Retrieval:
    """One evaluation. A query whose label no other image of the gallery has can have no answer, and is left out.

    Args:
        recall: k -> share of queries with at least one right image among the k nearest.
        precision: k -> share of right images among the k nearest.
        map_at_r: mean average precision over the first R neighbours, R being the number of right images there are
            (Musgrave et al., "A Metric Learning Reality Check", ECCV 2020).
        r_precision: share of right images among the first R.
        mean_average_precision: over the whole ranking; equal similarities share one threshold, as in scikit-learn.
            NaN where that was not asked for.
        is_counted: bool [queries], False for those left out; the three below are 0 there.
        average_precision_at_r: float32 [queries], of each query.
        first_hit: int64 [queries], rank of the first right image, 1 for the nearest neighbour.
        nearest: int64 [queries, up to max(ks)], positions in the gallery, nearest first.
        by_query: "map@r", "map", "r_precision", "recall@k", "precision@k" -> float32 [queries], whose means they are.
    """

    recall: Mapping[int, float]
    precision: Mapping[int, float]
    map_at_r: float
    r_precision: float
    mean_average_precision: float
    is_counted: Tensor
    average_precision_at_r: Tensor
    first_hit: Tensor
    nearest: Tensor
    by_query: Mapping[str, Tensor]

    def by_class(self, labels: Tensor) -> dict[str, ByClass]:
        """Each figure as a mean over classes of queries, for its interval (`ml.statistics.uncertainty`).

        Args:
            labels: int64 [queries].
        """
        own, counted = labels.cpu().numpy(), self.is_counted.cpu().numpy()
        return {name: ByClass.of(values.cpu().numpy(), own, counted) for name, values in self.by_query.items()}


def evaluate_retrieval(
    embeddings: Tensor,
    labels: Tensor,
    gallery: Tensor | None = None,
    gallery_labels: Tensor | None = None,
    *,
    ks: Sequence[int] = KS,
    whole_ranking: bool = True,
) -> Retrieval:
    """Every metric of retrieval in one pass over the similarities.

    Args:
        embeddings: float32 [n, d], the queries.
        labels: int64 [n].
        gallery: float32 [m, d]; None for the queries themselves, each left out of its own answer.
        gallery_labels: int64 [m], with `gallery`.
        ks: neighbours to look at, each at least 1. One above the number of candidates looks at all of them.
        whole_ranking: also the mean average precision over it. Without, only the nearest max(ks) and R are ordered.

    Raises:
        ValueError: shapes do not agree, a k is below 1, or no query has a right answer.
    """
    is_self = gallery is None
    if gallery is None or gallery_labels is None:
        gallery, gallery_labels = embeddings, labels
    _check(embeddings, labels, gallery, gallery_labels, ks)
    chunks = _similarities(embeddings, gallery, is_self=is_self)
    return _evaluate(chunks, labels, gallery_labels, ks, is_self=is_self, whole_ranking=whole_ranking)


def evaluate_similarities(similarity: Tensor, labels: Tensor, *, ks: Sequence[int] = KS) -> Retrieval:
    """`evaluate_retrieval` of every row against the others, for similarities [n, n] that are no inner products."""
    step = max(1, CHUNK_ELEMENTS // len(similarity))

    def chunks() -> Iterator[tuple[slice, Tensor]]:
        for start in range(0, len(similarity), step):
            rows = slice(start, min(start + step, len(similarity)))
            chunk = similarity[rows].float().clone()
            chunk[torch.arange(len(chunk)), torch.arange(rows.start, rows.stop)] = -torch.inf
            yield rows, chunk

    _check(similarity, labels, similarity, labels, ks)
    return _evaluate(chunks(), labels, labels, ks, is_self=True, whole_ranking=True)


def _evaluate(
    chunks: Iterable[tuple[slice, Tensor]],
    labels: Tensor,
    gallery_labels: Tensor,
    ks: Sequence[int],
    *,
    is_self: bool,
    whole_ranking: bool,
) -> Retrieval:
    device = labels.device
    candidates = len(gallery_labels) - is_self
    relevant = _relevant_counts(labels, gallery_labels) - int(is_self)
    counted = relevant > 0
    if not bool(counted.any()):
        raise ValueError("no label occurs twice")
    width = min(candidates, max(int(relevant.max()), *ks))
    kept = min(candidates, max(ks))
    ap_at_r, ap, hits = (torch.zeros(len(labels), device=device) for _ in range(3))
    first_hit = torch.zeros(len(labels), dtype=torch.int64, device=device)
    hits_at = {k: torch.zeros_like(ap) for k in ks}
    nearest = torch.empty(len(labels), kept, dtype=torch.int64, device=device)
    positions = torch.arange(1, width + 1, device=device)
    right_ones = _RightOnes(labels, gallery_labels, is_self=is_self)
    for rows, similarity in chunks:
        order = largest(similarity, width)
        is_right = gallery_labels[order] == labels[rows, None]
        right_so_far = is_right.cumsum(1)
        wanted = relevant[rows, None]
        within_r = positions <= wanted
        precision = right_so_far / positions
        ap_at_r[rows] = (precision * (is_right & within_r)).sum(1) / wanted[:, 0].clamp(min=1)
        hits[rows] = (is_right & within_r).sum(1) / wanted[:, 0].clamp(min=1)
        for k in ks:
            hits_at[k][rows] = right_so_far[:, min(k, width) - 1] / min(k, candidates)
        nearest[rows] = order[:, :kept]
        first_hit[rows] = 1 + is_right.int().argmax(1)
        right = right_ones.of(rows)
        is_further = (right_so_far[:, -1] == 0).nonzero()[:, 0]
        if len(is_further):
            found = _first_hits(similarity[is_further], *(each[is_further] for each in right))
            first_hit[rows.start + is_further] = found
        if whole_ranking:
            ap[rows] = average_precisions(similarity, *right)
    share = float(counted.sum())
    first_hit = torch.where(counted, first_hit, 0)
    return Retrieval(
        recall={k: float(((first_hit <= k) & counted).sum()) / share for k in ks},
        precision={k: _mean(hits_at[k], counted) for k in ks},
        map_at_r=_mean(ap_at_r, counted),
        r_precision=_mean(hits, counted),
        mean_average_precision=_mean(ap, counted) if whole_ranking else float("nan"),
        is_counted=counted,
        average_precision_at_r=ap_at_r * counted,
        first_hit=first_hit,
        nearest=nearest,
        by_query={
            "map@r": ap_at_r,
            **({"map": ap} if whole_ranking else {}),
            "r_precision": hits,
            **{f"recall@{k}": (first_hit <= k).float() for k in ks},
            **{f"precision@{k}": hits_at[k] for k in ks},
        },
    )


def recall_at_k(embeddings: Tensor, labels: Tensor, ks: Sequence[int]) -> dict[int, float]:
    """Share of queries with at least one same-label image among their k nearest neighbours.

    Args:
        embeddings: float32 [n, d], rows of unit length.
        labels: int64 [n]. Rows whose label occurs once have no answer and are left out.
        ks: neighbours to look at.

    Returns:
        k -> recall in [0, 1].

    Raises:
        ValueError: no label occurs twice, or a k is below 1.
    """
    return dict(evaluate_retrieval(embeddings, labels, ks=ks, whole_ranking=False).recall)


def mean_average_precision_at_r(embeddings: Tensor, labels: Tensor) -> float:
    """mAP@R in [0, 1]; arguments and errors as `recall_at_k`. Cheaper than `evaluate_retrieval`: no full ranking."""
    _check(embeddings, labels, embeddings, labels, (1,))
    relevant = _relevant_counts(labels, labels) - 1
    if int(relevant.max()) < 1:
        raise ValueError("no label occurs twice")
    width = int(relevant.max())
    positions = torch.arange(1, width + 1, device=embeddings.device)
    total = 0.0
    for rows, similarity in _similarities(embeddings, embeddings, is_self=True):
        is_right = labels[largest(similarity, width)] == labels[rows, None]
        wanted = relevant[rows, None]
        precision = is_right.cumsum(1) / positions * (is_right & (positions <= wanted))
        total += float((precision.sum(1) / wanted[:, 0].clamp(min=1)).sum())
    return total / int((relevant > 0).sum())


def binary_codes(embeddings: Tensor) -> Tensor:
    """The sign of every dimension after a fixed random turn, as ±1, float32 [n, d]; 0 counts as positive.

    The paper takes the sign of the dimensions as they are. Ours are sorted by importance, and a bit is best spent on
    equally important ones: the turn mixes them and changes no angle (Gong & Lazebnik, CVPR 2011). Without it, mAP@R of
    fine-tuned models fell by 10 points, with it by 2. The codes' inner product is d minus twice the Hamming distance,
    and exact in float32.
    """
    dim = embeddings.shape[1]
    random = torch.randn(dim, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    turn = torch.linalg.qr(random).Q.to(embeddings)
    return torch.where(embeddings @ turn >= 0, 1.0, -1.0)


def prefix(embeddings: Tensor, dim: int) -> Tensor:
    """The first `dim` dimensions at unit length, float32 [n, dim] (Matryoshka representation, Kusupati et al. 2022).

    Raises:
        ValueError: there are not that many.
    """
    if not 1 <= dim <= embeddings.shape[1]:
        raise ValueError(f"dim {dim} is not in 1..{embeddings.shape[1]}")
    return torch.nn.functional.normalize(embeddings[:, :dim], dim=1)


def normalized_mutual_information(embeddings: Tensor, labels: Tensor, *, seed: int = 0) -> float:
    """NMI between the labels and a k-means clustering with as many clusters as there are labels, in [0, 1]."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import normalized_mutual_info_score

    with warnings.catch_warnings():  # fewer distinct vectors than labels: the figure says so
        warnings.simplefilter("ignore", ConvergenceWarning)
        clusters = KMeans(len(labels.unique()), n_init=1, random_state=seed).fit_predict(embeddings.cpu().numpy())
    return float(normalized_mutual_info_score(labels.cpu().numpy(), clusters))


def _check(queries: Tensor, labels: Tensor, gallery: Tensor, gallery_labels: Tensor, ks: Sequence[int]) -> None:
    if len(queries) != len(labels) or len(gallery) != len(gallery_labels):
        raise ValueError(
            f"{len(queries)} and {len(gallery)} embeddings, {len(labels)} and {len(gallery_labels)} labels"
        )
    if not len(queries) or not len(gallery) or queries.shape[1] != gallery.shape[1]:
        raise ValueError(f"no embeddings, or of different lengths: {tuple(queries.shape)}, {tuple(gallery.shape)}")
    if not ks or min(ks) < 1:
        raise ValueError(f"ks {tuple(ks)} must be at least 1")
    if not bool(torch.isfinite(queries).all()):
        raise ValueError("an embedding is not finite")


def _relevant_counts(labels: Tensor, gallery_labels: Tensor) -> Tensor:
    """How often each query's label occurs in the gallery, int64 [n]."""
    values, counts = gallery_labels.unique(return_counts=True)
    places = torch.searchsorted(values, labels).clamp(max=len(values) - 1)
    return torch.where(values[places] == labels, counts[places], 0)


def _similarities(queries: Tensor, gallery: Tensor, *, is_self: bool) -> Iterator[tuple[slice, Tensor]]:
    """Chunks of rows and their similarities float32 [rows, m]; -inf where a row meets itself."""
    queries, gallery = queries.float(), gallery.float()
    whole = _among_themselves(queries) if is_self and len(queries) <= HELD_ROWS else None
    step = max(1, CHUNK_ELEMENTS // len(gallery))
    for start in range(0, len(queries), step):
        rows = slice(start, min(start + step, len(queries)))
        similarity = queries[rows] @ gallery.T if whole is None else whole[rows]
        if is_self:
            similarity[torch.arange(len(similarity)), torch.arange(rows.start, rows.stop)] = -torch.inf
        yield rows, similarity


def _among_themselves(vectors: Tensor) -> Tensor:
    """All similarities, float32 [n, n]: one half is computed, the other is the same numbers across the diagonal."""
    count = len(vectors)
    similarity = torch.empty(count, count, device=vectors.device)
    for start in range(0, count, _BLOCK):
        end = min(start + _BLOCK, count)
        similarity[start:end, start:] = vectors[start:end] @ vectors[start:].T
        similarity[end:, start:end] = similarity[start:end, end:].T
    return similarity


class _RightOnes:
    """Where the right images of each query are in the gallery."""

    def __init__(self, labels: Tensor, gallery_labels: Tensor, *, is_self: bool) -> None:
        self._by_label = gallery_labels.argsort(stable=True)
        ordered = gallery_labels[self._by_label]
        self._first = torch.searchsorted(ordered, labels)
        self._counts = torch.searchsorted(ordered, labels, right=True) - self._first
        self._is_self = is_self

    def of(self, rows: slice) -> tuple[Tensor, Tensor]:
        """Positions int64 [rows, most], and bool [rows, most]: which of them count."""
        counts = self._counts[rows, None]
        places = torch.arange(max(1, int(counts.max())), device=counts.device)
        is_right = places < counts
        found = self._by_label[(self._first[rows, None] + places).clamp(max=len(self._by_label) - 1)]
        if self._is_self:
            is_right &= found != torch.arange(rows.start, rows.stop, device=counts.device)[:, None]
        return found, is_right


def _first_hits(similarity: Tensor, right: Tensor, is_right: Tensor) -> Tensor:
    """Rank of the first right image, int64 [n]; meaningless where there is none."""
    values = similarity.gather(1, right).masked_fill(~is_right, -torch.inf)
    best = values.max(1, keepdim=True).values
    # Right images come in the order of their positions: the first of the best ones.
    place = right.gather(1, (values == best).int().argmax(1, keepdim=True))
    before = torch.arange(similarity.shape[1], device=similarity.device) < place
    return 1 + (similarity > best).sum(1) + ((similarity == best) & before).sum(1)


def _mean(values: Tensor, is_counted: Tensor) -> float:
    return float(values[is_counted].double().mean())
