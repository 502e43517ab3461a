"""The check before a model is published: on which labelled photos, and mAP@R in NumPy. Workers have no torch.

A model is best at what it was trained on. The check therefore looks at photos that neither model was trained on: those
that were labelled since, and those of classes that training held out. Only without such photos it takes all, and says
so. The figure is that of `ml.evaluation.metrics.mean_average_precision_at_r`, which evaluates whole sets in torch.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml.data.seen_photos import SeenPhotos

_ROWS = 64  # queries at a time: between two lots, searches get the interpreter
_PAUSE_S = 0.002
_PATIENCE = 10  # times as many photos are looked at as are wanted


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


@dataclass(frozen=True)
class Measured:
    """The photos to measure two models on, as (id, label), and in words which those are and what they cannot tell."""

    photos: list[tuple[str, str]]
    about: str


def choose(
    labelled: Iterable[tuple[str, list[str]]],
    new: Mapping[str, Any],
    active: Mapping[str, Any],
    *,
    most: int,
) -> Measured:
    """Chooses photos that say which model is better, and not which one was trained on them.

    Args:
        labelled: each label with the ids of its photos.
        new: lineage of the model to publish.
        active: lineage of the one that answers.
        most: photos to choose.
    """
    models = [_Training(new), _Training(active)]
    fair: list[tuple[str, str]] = []
    every: list[tuple[str, str]] = []
    looked_at = 0
    for label, ids in labelled:
        own = [id for id in ids if all(training.is_new_to(id, label) for training in models)]
        if len(own) > 1:
            fair += [(id, label) for id in own]
        if len(every) < most:
            every += [(id, label) for id in ids]
        looked_at += len(ids)
        if len(fair) >= most or looked_at >= _PATIENCE * most:
            break
    if len({label for _, label in fair}) > 1:
        return Measured(
            fair, f"{len(fair)} photos that neither model was trained on: labelled since, or of held-out classes"
        )
    if all(training.is_known for training in models):
        why = "one of the models was trained on most of them, so that this cannot tell how they do on other photos"
    else:
        why = "it is not known which of them the models were trained on, so that this may flatter one of them"
    return Measured(every, f"{len(every)} labelled photos; {why}")


class _Training:
    """What a model was trained on, as far as its lineage says."""

    def __init__(self, lineage: Mapping[str, Any]) -> None:
        is_trained = "config" in lineage
        self._seen = SeenPhotos(dict(lineage))
        self._held_out = frozenset(lineage.get("held_out_classes") or ())
        self.is_known = not is_trained or self._seen.is_known

    def is_new_to(self, id: str, label: str) -> bool:
        """Whether its network was not trained on a photo. Held-out classes had a part in the head alone."""
        return self.is_known and (id not in self._seen or label in self._held_out)
