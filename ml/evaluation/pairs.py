"""Images compared in pairs and small sets: comparative sets, and how similar same and different labels are.

Comparative sets are the seed's own measure: one positive among 99 negatives, or as many as there are, and the rank that
the positive gets.
Pairs give the similarity from which on two images count as a match.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ml.evaluation.metrics import CHUNK_ELEMENTS

FALSE_MATCH_RATE = 0.01
_BINS = 4000  # of similarity over [-1, 1]: steps of 0.0005


@dataclass(frozen=True)
class ComparativeSets:
    """Positions of images: query [n], positive [n] of the query's label, negatives [n, m] of others."""

    query: np.ndarray
    positive: np.ndarray
    negatives: np.ndarray


def comparative_sets(labels: Tensor, *, count: int = 1000, negatives: int = 99, seed: int = 0) -> ComparativeSets:
    """Draws sets: a query, another image of its label, and images of other labels, none of them twice.

    Args:
        labels: int64 [n].
        count: how many sets.
        negatives: images of other labels in each; fewer where some query has fewer, so that all ranks compare.
        seed: of the draw.

    Raises:
        ValueError: no label occurs twice, or there is only one label.
    """
    values = labels.cpu().numpy()
    unique, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    eligible = np.flatnonzero(counts[inverse] > 1)
    if len(unique) < 2 or not len(eligible):
        raise ValueError("comparative sets need two labels, and one that occurs twice")
    random = np.random.default_rng(seed)
    negatives = min(negatives, len(values) - int(counts.max()))
    query = random.choice(eligible, count)
    positive, other = np.empty(count, np.int64), np.empty((count, negatives), np.int64)
    for row, position in enumerate(query):
        same = values == values[position]
        different = np.flatnonzero(~same)
        same[position] = False
        positive[row] = random.choice(np.flatnonzero(same))
        other[row] = random.choice(different, negatives, replace=False)
    return ComparativeSets(query, positive, other)


def comparative_ranks(embeddings: Tensor, sets: ComparativeSets) -> np.ndarray:
    """Rank of each set's positive among its negatives, int64 [n], 1 is best; a tie ranks the positive in the middle.

    Args:
        embeddings: float32 [n, d], rows of unit length.
        sets: of positions in it.
    """
    vectors = embeddings.float().cpu().numpy()
    queries = vectors[sets.query]
    positive = np.einsum("nd,nd->n", queries, vectors[sets.positive])[:, None]
    negative = np.stack([vectors[rows] @ query for rows, query in zip(sets.negatives, queries, strict=True)])
    closer, level = (negative > positive).sum(1), (negative == positive).sum(1)
    ranks: np.ndarray = 1 + closer + level // 2
    return ranks


@dataclass(frozen=True)
class Pairs:
    """How many pairs of images are how similar.

    Args:
        edges: float64 [bins + 1], of similarity.
        same: int64 [bins], pairs of one label.
        different: int64 [bins], pairs of two labels.
    """

    edges: np.ndarray
    same: np.ndarray
    different: np.ndarray

    def threshold(self, false_match_rate: float = FALSE_MATCH_RATE) -> float:
        """The smallest similarity that at most this share of pairs of different labels reaches, to within a bin."""
        total = self.different.sum()
        if not total:
            return 1.0
        reaching = np.append(self.different[::-1].cumsum()[::-1], 0)  # pairs at or above each edge
        return float(self.edges[np.argmax(reaching <= false_match_rate * total)])

    def match_rate(self, threshold: float) -> tuple[float, float]:
        """Shares of pairs at or above a threshold: (of the same label, of different labels)."""
        first = int(np.searchsorted(self.edges[:-1], threshold - 1e-9))
        rates = [float(side[first:].sum() / max(1, side.sum())) for side in (self.same, self.different)]
        return rates[0], rates[1]


def count_pairs(embeddings: Tensor, labels: Tensor, others: Tensor | None = None) -> Pairs:
    """Histograms of the similarity of every pair of images, each pair once.

    Args:
        embeddings: float32 [n, d], rows of unit length.
        labels: int64 [n].
        others: float32 [m, d], images that share no label with these: each pair with one of them is of two labels.
    """
    edges = np.linspace(-1, 1, _BINS + 1)
    counts = np.zeros((2, _BINS), np.int64)
    step = max(1, CHUNK_ELEMENTS // max(1, len(embeddings)))
    for start in range(0, len(embeddings), step):
        stop = min(start + step, len(embeddings))
        bins = _bins(embeddings[start:stop], embeddings)
        columns = torch.arange(len(embeddings), device=embeddings.device)
        once = columns[None, :] > columns[start:stop, None]
        is_same = labels[start:stop, None] == labels[None, :]
        for row, chosen in enumerate((is_same & once, ~is_same & once)):
            counts[row] += torch.bincount(bins[chosen], minlength=_BINS).cpu().numpy()
        if others is not None:
            counts[1] += torch.bincount(_bins(embeddings[start:stop], others).flatten(), minlength=_BINS).cpu().numpy()
    return Pairs(edges, counts[0], counts[1])


def _bins(rows: Tensor, columns: Tensor) -> Tensor:
    """The bin of each pair's similarity, int64 [rows, columns]."""
    return ((rows.float() @ columns.float().T + 1) * (_BINS / 2)).long().clamp_(0, _BINS - 1)
