"""A model and labelled images to numbers; the report of them is `ml.evaluation.report`'s.

Images take the same way as in indexing and search: the bundle's preprocessing, then `ml.model.embedder`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ml.data import decoding, seen_photos
from ml.data.datasets import BadDataset, Dataset, Progress
from ml.data.seen_photos import SeenPhotos
from ml.evaluation.metrics import (
    KS,
    Retrieval,
    binary_codes,
    evaluate_retrieval,
    evaluate_similarities,
    mean_average_precision_at_r,
    normalized_mutual_information,
    prefix,
)
from ml.evaluation.pairs import Pairs, comparative_ranks, comparative_sets, count_pairs
from ml.evaluation.rerank import k_reciprocal
from ml.model import embedder
from ml.model.bundle import Bundle
from ml.statistics.reliability import Judged
from ml.statistics.uncertainty import ByClass, difference, intervals
from ml.tuning.calibration_fit import FEWEST_TO_MEASURE, TooFewClasses, cross_fitted

_BATCH = 64
PREFIXES = (64, 128, 256)
_MOST_RERANKED = 20_000  # the distances of more take more than 2 GB
_MOST_JUDGED = 4_000  # each is compared with a quarter of the others, sixteen times
_MOST_OF_A_CLASS = 200


@dataclass(frozen=True)
class Evaluation:
    """What was measured, and what the report draws.

    Args:
        bundle: the model.
        dataset: the images that were measured, queries and gallery in one.
        embeddings: float32 [n, d], rows of unit length.
        retrieval: of the embeddings.
        ranks: int64, of the positives of comparative sets.
        pairs: how similar images of one and of two labels are.
        threshold: from which similarity on two of these images count as a match: 1 % of false pairs reach it.
        metrics: every number, flat: "recall@1", "map@r", "median_rank", …
        reranked: positions int64 [n, k] of the nearest after re-ranking, if that was asked for.
        figures: those that are means over queries, by class, for intervals and comparisons.
        judged: what is said of first hits, half of the classes absent; None with too few classes.
        seen: how many of the images the model was trained on; None where it does not say.
    """

    bundle: Bundle
    dataset: Dataset
    embeddings: Tensor
    retrieval: Retrieval
    ranks: np.ndarray
    pairs: Pairs
    threshold: float
    metrics: dict[str, Any]
    reranked: Tensor | None = None
    seen: int | None = None
    figures: Mapping[str, ByClass] = field(default_factory=dict)
    judged: Judged | None = None

    @property
    def tuned_to(self) -> int:
        """How many of the images the head was fitted to, without their labels."""
        return seen_photos.tuned_to(self.bundle.lineage, self.dataset.sha256)

    @property
    def notes(self) -> list[str]:
        """What makes the figures say less than they seem to."""
        name, found = self.bundle.name, []
        if self.seen is None:
            found.append(f"{name} does not say which photos it was trained on: these may be among them")
        elif self.seen:
            found.append(
                f"{name} was trained on {self.seen} of these {len(self.dataset)} photos: its figures flatter it"
            )
        if self.tuned_to:
            found.append(
                f"transductive: the head of {name} was fitted to {self.tuned_to} of these {len(self.dataset)} photos,"
                " without their labels"
            )
        return found + _unmeasured(self.judged)


@dataclass(frozen=True)
class Measured:
    """What vectors and labels alone tell; the fields are those of an `Evaluation`."""

    retrieval: Retrieval
    ranks: np.ndarray
    pairs: Pairs
    metrics: dict[str, Any]
    reranked: Tensor | None
    figures: Mapping[str, ByClass]
    judged: Judged | None

    @property
    def notes(self) -> list[str]:
        """What is not among the figures, and why."""
        return _unmeasured(self.judged)


def _unmeasured(judged: Judged | None) -> list[str]:
    if judged is not None:
        return []
    return [f"not measured how true probabilities of hits are: that takes {FEWEST_TO_MEASURE} classes of two photos"]


def evaluate(
    bundle_dir: Path,
    dataset: Dataset,
    *,
    rerank: bool = False,
    binary: bool = False,
    ks: Sequence[int] = KS,
    seed: int = 0,
    device: str = "auto",
    cache_dir: Path | None = None,
    on_progress: Progress | None = None,
) -> Evaluation:
    """Measures a model: every image is a query against all the others.

    Args:
        bundle_dir: of the model.
        dataset: labelled images.
        rerank: also after k-reciprocal re-ranking.
        binary: also as binary codes.
        ks: neighbours to look at.
        seed: of comparative sets and clustering.
        device: auto, cuda or cpu.
        cache_dir: of compiled models.
        on_progress: told how far it is.

    Raises:
        BadDataset: no class has two images, or there is one class.
        BadBundle: the model is damaged.
    """
    if len(dataset.classes) < 2 or dataset.counts.max() < 2:
        raise BadDataset(
            f"{dataset.name} has nothing to measure: {len(dataset.classes)} classes, at most"
            f" {dataset.counts.max()} images in one",
            hint="give at least two classes with two images in one of them",
        )
    loaded = embedder.load(bundle_dir, device=device, cache_dir=cache_dir)
    decoded = decoding.decode(dataset, loaded.preprocessing, on_progress=on_progress)
    vectors = embed(loaded, decoded.array, on_progress)
    measured = measure(vectors, decoded.dataset.labels, rerank=rerank, binary=binary, ks=ks, seed=seed)
    return Evaluation(
        loaded.bundle,
        decoded.dataset,
        vectors,
        measured.retrieval,
        measured.ranks,
        measured.pairs,
        measured.pairs.threshold(),
        measured.metrics,
        measured.reranked,
        _seen(loaded.bundle, decoded.dataset),
        measured.figures,
        measured.judged,
    )


def measure(
    vectors: Tensor | np.ndarray,
    labels: Tensor | np.ndarray,
    *,
    rerank: bool = False,
    binary: bool = False,
    ks: Sequence[int] = KS,
    seed: int = 0,
) -> Measured:
    """Measures vectors, whoever computed them: every row is a query against all the others.

    Args:
        vectors: float32 [n, d], rows of unit length.
        labels: int64 [n].
        rerank: also after k-reciprocal re-ranking.
        binary: also as binary codes.
        ks: neighbours to look at.
        seed: of comparative sets and clustering.

    Raises:
        BadDataset: no class has two rows, there is one class, or there are too many rows to re-rank.
    """
    vectors, labels = torch.as_tensor(vectors), torch.as_tensor(labels)
    counts = labels.unique(return_counts=True)[1]
    if len(counts) < 2 or int(counts.max()) < 2:
        raise BadDataset("there is nothing to measure", hint="give at least two classes with two images in one of them")
    retrieval = evaluate_retrieval(vectors, labels, ks=ks)
    sets = comparative_sets(labels, seed=seed)
    ranks = comparative_ranks(vectors, sets)
    pairs = count_pairs(vectors, labels)
    metrics: dict[str, Any] = _figures(retrieval) | {
        "median_rank": float(np.median(ranks)),
        **{f"comparative_recall@{k}": float((ranks <= k).mean()) for k in (1, 5, 10)},
        "comparative_negatives": sets.negatives.shape[1],
        "nmi": normalized_mutual_information(vectors, labels, seed=seed),
        "threshold": pairs.threshold(),
        "match_rate": pairs.match_rate(pairs.threshold())[0],
        **{
            f"dim{dim}_map@r": mean_average_precision_at_r(prefix(vectors, dim), labels)
            for dim in PREFIXES
            if dim < vectors.shape[1]
        },
        "images": len(labels),
        "classes": len(counts),
    }
    figures = retrieval.by_class(labels)
    if binary:
        coded = evaluate_retrieval(binary_codes(vectors), labels, ks=ks)
        metrics |= _figures(coded, "binary_", ("recall@1", "map@r"))
        figures |= {f"binary_{name}": figure for name, figure in coded.by_class(labels).items()}
    reranked = None
    if rerank:
        if len(vectors) > _MOST_RERANKED:
            raise BadDataset(f"{len(vectors)} images are too many to re-rank", hint="leave out --rerank")
        again = evaluate_distances(k_reciprocal(vectors.numpy()), labels, ks=ks)
        metrics |= _figures(again, "rerank_", ("recall@1", "map@r", "map"))
        reranked = again.nearest
        figures |= {f"rerank_{name}": figure for name, figure in again.by_class(labels).items()}
    figures = {name: figure for name, figure in figures.items() if name in metrics}
    metrics["intervals"] = intervals(figures)
    judged = _judged(vectors.numpy(), labels.numpy(), seed)
    if judged is not None:
        metrics |= {_ANSWERS[name]: value for name, value in judged.figures().items()}
        metrics["intervals"] |= {_ANSWERS[name]: list(ends) for name, ends in judged.intervals().items()}
        metrics["reliability"] = judged.curve()
        figures["brier"] = judged.by_class["brier"]
    return Measured(retrieval, ranks, pairs, metrics, reranked, figures, judged)


# Figures of what is said of first hits, as they stand among all the others.
_ANSWERS = {"precision": "same_precision", "recall": "same_recall", "brier": "brier", "ece": "ece"}


def _judged(vectors: np.ndarray, labels: np.ndarray, seed: int) -> Judged | None:
    """What is said of first hits; of many images, those of some classes. None with too few classes."""
    order = np.random.default_rng(seed).permutation(np.unique(labels))
    chosen = [np.flatnonzero(labels == each)[:_MOST_OF_A_CLASS] for each in order]
    sizes = np.cumsum([len(each) for each in chosen])
    own = np.sort(np.concatenate(chosen[: max(FEWEST_TO_MEASURE, int((sizes <= _MOST_JUDGED).sum()))]))
    try:
        return cross_fitted(vectors[own], labels[own], seed=seed)
    except TooFewClasses:
        return None


def _seen(bundle: Bundle, dataset: Dataset) -> int | None:
    if "config" not in bundle.lineage:
        return 0  # never trained here, or not at all
    seen = SeenPhotos(bundle.lineage)
    return sum(content in seen for content in dataset.sha256) if seen.is_known else None


def differences(first: Evaluation, second: Evaluation) -> dict[str, dict[str, Any]]:
    """Of every figure: first minus second, its interval, and whether it is more than chance. Plain JSON.

    Raises:
        ValueError: they were measured on different photos.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, figure in first.figures.items():
        if name in second.figures:
            gain, bounds = difference(figure, second.figures[name])
            is_beyond = bounds is not None and (bounds[0] > 0 or bounds[1] < 0)
            found[name] = {"difference": gain, "interval": bounds and list(bounds), "is_beyond_chance": is_beyond}
    return found


def embed(loaded: embedder.Embedder, array: np.ndarray, on_progress: Progress | None = None) -> Tensor:
    """Decoded images uint8 [n, s, s, 3] to float32 [n, d], rows of unit length."""
    batches = []
    for start in range(0, len(array), _BATCH):
        batches.append(loaded.embed_arrays(np.ascontiguousarray(array[start : start + _BATCH])))
        if on_progress:
            on_progress("embedding", min(start + _BATCH, len(array)), len(array))
    return torch.from_numpy(np.concatenate(batches))


def evaluate_distances(distances: np.ndarray, labels: Tensor, *, ks: Sequence[int] = KS) -> Retrieval:
    """`evaluate_retrieval` for distances [n, n] that are no inner products, such as re-ranked ones."""
    return evaluate_similarities(torch.from_numpy(-distances), labels, ks=ks)


def _figures(retrieval: Retrieval, name_prefix: str = "", only: Sequence[str] = ()) -> dict[str, float]:
    every = {
        **{f"recall@{k}": value for k, value in retrieval.recall.items()},
        **{f"precision@{k}": value for k, value in retrieval.precision.items()},
        "map@r": retrieval.map_at_r,
        "map": retrieval.mean_average_precision,
        "r_precision": retrieval.r_precision,
    }
    return {f"{name_prefix}{name}": value for name, value in every.items() if not only or name in only}
