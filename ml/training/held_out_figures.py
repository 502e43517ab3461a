"""Figures of a training on the images that it held out, before and after, and the similarity of a match."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ml.data.decoding import Pixels
from ml.data.holdout import HeldOut
from ml.evaluation.metrics import evaluate_retrieval
from ml.evaluation.pairs import count_pairs
from ml.model.network import EmbeddingModel
from ml.model.verdict import HELD_OUT_GAIN
from ml.statistics.uncertainty import ByClass, difference, intervals
from ml.training.features import Reader, project_sides

_OTHERS = 300  # training images that held-out ones are told apart from


@dataclass(frozen=True)
class Figures:
    """What was measured.

    `metrics` have shares in 0..1 and their intervals, none where nothing was held out; `threshold` is the cosine of a
    match; `facts` say what was held out, for a lineage.
    """

    metrics: dict[str, Any]
    threshold: float
    facts: dict[str, Any]


def untrained(reader: Reader, seen: Pixels, held: HeldOut, *, is_all_read: bool) -> ByClass | None:
    """mAP@R of held-out images through the network as it came, to see what training brought. None without any.

    `is_all_read`: the features of all images are read anyway, and kept.
    """
    rows = np.flatnonzero(held.is_held)
    if not len(rows):
        return None
    if is_all_read:
        features = reader.features(seen.array, "reading features")[rows]
    else:
        features = reader.features(seen.array, "held-out images", rows=rows)
    vectors = functional.normalize(features, dim=1)
    labels = torch.from_numpy(seen.dataset.labels[rows])
    return evaluate_retrieval(vectors, labels, ks=(1,), whole_ranking=False).by_class(labels)["map@r"]


def measure(
    model: EmbeddingModel, sides: Sequence[Tensor], seen: Pixels, held: HeldOut, before: ByClass | None
) -> Figures:
    """Figures through a head that the held-out images had no part in.

    Args:
        model: with that head.
        sides: features of all images, and of their mirror images where the model uses those.
        seen: the images.
        held: which of them are held out.
        before: mAP@R before training.
    """
    held_out, trained = np.flatnonzero(held.is_held), np.flatnonzero(~held.is_held)
    chosen = held_out if len(held_out) else trained
    vectors = project_sides(model, [side[chosen] for side in sides])
    labels = torch.from_numpy(seen.dataset.labels[chosen])
    # A few held-out classes may be as different as apples and juice: none of them may look like any other class either.
    others = None
    if held.split == "classes":
        others = project_sides(model, [side[trained[:: max(1, len(trained) // _OTHERS)]] for side in sides])
    threshold = count_pairs(vectors, labels, others).threshold()
    metrics: dict[str, Any] = {}
    found: dict[str, list[float]] = {}
    if len(held_out):
        retrieval = evaluate_retrieval(vectors, labels, ks=(1,), whole_ranking=False)
        metrics = {"held_out_map@r": retrieval.map_at_r, "held_out_recall@1": retrieval.recall[1]}
        by_class = retrieval.by_class(labels)
        found = intervals({f"held_out_{name}": by_class[name] for name in ("map@r", "recall@1")})
        if before is not None and before.counts.sum():
            metrics["held_out_map@r_before"] = before.mean
            bounds = difference(by_class["map@r"], before)[1]
            found |= {HELD_OUT_GAIN: list(bounds)} if bounds else {}
    own = seen.dataset.labels
    facts = {
        "held_out_classes": [seen.dataset.classes[label] for label in np.setdiff1d(own[held_out], own[trained])],
        "holdout": {"split": held.split, "why": held.why, "images": len(held_out)},
        "threshold_from": f"held-out {'classes' if held.split == 'classes' else 'images'}"
        if len(held_out)
        else "training classes",
    }
    finite = {key: value for key, value in metrics.items() if math.isfinite(value)}
    return Figures(finite | {"intervals": found}, threshold, facts)
