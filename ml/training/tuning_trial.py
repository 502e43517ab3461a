"""Whether a head gains from a gallery's own photos: tried on classes that it was not fitted on, by new queries.

`ml.tuning.gallery_head` fits a head to views and pairs of photos that nobody labelled. Beside a head that labels
taught, how much these are to weigh, and how many neighbours may propose each other, is for labels to say: every second
photo of some held-out classes stands for a gallery, the others ask. What gains there most, and loses no first hits, is
noted with the model (`Scheme.of`): the end of a training and `lookalike tune` follow it.

A network that was fine-tuned has held-out classes of its own. Of one that stays as it is, the head alone is taught, in
a second: folds of all the classes are held out in turn.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ml.data.holdout import HeldOut
from ml.evaluation.metrics import evaluate_retrieval
from ml.tuning.gallery_head import FEWEST_PHOTOS, Scheme, fit_gallery, through
from ml.tuning.views import views

# More neighbours gain more where each thing has many photos, and lose where it has two.
SCHEMES = tuple(Scheme(weight, *neighbours) for weight in (1.0, 2.0) for neighbours in ((50, 6), (25, 8)))
_VIEWS = 3
_FOLDS = (4, 2)
_ENOUGH = 300  # photos that stand for galleries
_LEAST_GAIN = 0.01  # mAP@R
_LOST = 0.005  # of the first hits, at most; a single one always may be


@dataclass(frozen=True)
class Group:
    """Classes that are held out together: positions of their photos, int64 each."""

    gallery: np.ndarray
    queries: np.ndarray


@dataclass(frozen=True)
class Tried:
    """What was found: the scheme, or None and why; figures in 0..1, before and after, and how many photos asked."""

    scheme: Scheme | None
    why: str
    figures: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, for a lineage."""
        scheme = None if self.scheme is None else self.scheme.to_json()
        return {"scheme": scheme, "why": self.why, **self.figures}


def groups_of(labels: np.ndarray, held: HeldOut, *, is_head_alone: bool, seed: int) -> list[Group]:
    """What to hold out.

    Args:
        labels: int64 [n], of all photos.
        held: what the training held out.
        is_head_alone: nothing but the head is taught: any class can be held out.
        seed: of the folds.
    """
    if not is_head_alone:
        unseen = np.setdiff1d(labels[held.is_held], labels[~held.is_held])
        return _large_enough([_group(labels, unseen)])
    values, counts = np.unique(labels, return_counts=True)
    order = np.random.default_rng(abs(seed)).permutation(values[counts >= 4])
    for folds in _FOLDS:
        found = _large_enough([_group(labels, order[fold::folds]) for fold in range(folds)])
        if len(found) == folds:
            enough = int(np.searchsorted(np.cumsum([len(group.gallery) for group in found]), _ENOUGH))
            return found[: enough + 1]
    return []


def _group(labels: np.ndarray, classes: np.ndarray) -> Group:
    own = [np.flatnonzero(labels == label) for label in classes]
    halves = [np.concatenate([rows[start::2] for rows in own] or [np.empty(0, np.int64)]) for start in (0, 1)]
    return Group(*halves)


def _large_enough(groups: Sequence[Group]) -> list[Group]:
    return [group for group in groups if len(group.gallery) >= FEWEST_PHOTOS]


def views_of(pixels: np.ndarray, groups: Sequence[Group]) -> list[np.ndarray]:
    """Views of each group's gallery, uint8 [views * photos, s, s, 3]: the first of all photos, then the second."""
    found = []
    for group in groups:
        drawn = np.stack([views(pixels[row], _VIEWS, seed=int(row)) for row in group.gallery], axis=1)
        found.append(drawn.reshape(-1, *drawn.shape[2:]))
    return found


def try_schemes(
    labels: np.ndarray,
    groups: Sequence[Group],
    embed: Callable[[Group], tuple[Tensor, Tensor]],
    *,
    schemes: Sequence[Scheme] = SCHEMES,
) -> Tried:
    """Tries them.

    Args:
        labels: int64 [n], of all photos.
        groups: what is held out.
        embed: a group to vectors of all photos, float32 [n, d], and of its views in the order of `views_of`, by a head
            that was fitted without it.
        schemes: to try.
    """
    if not groups:
        return Tried(None, f"no {FEWEST_PHOTOS} photos of classes that could be held out stand for a gallery")
    before: list[np.ndarray] = []
    after: dict[Scheme, list[np.ndarray]] = {scheme: [] for scheme in schemes}
    for group in groups:
        vectors, of_views = (rows.numpy() for rows in embed(group))
        gallery, queries = vectors[group.gallery], vectors[group.queries]
        of_each_view = list(of_views.reshape(_VIEWS, len(gallery), -1))
        before.append(_asked(gallery, queries, labels, group))
        for scheme in schemes:
            tune = through(fit_gallery(gallery, of_each_view, scheme).linear_map)
            after[scheme].append(_asked(tune(gallery), tune(queries), labels, group))
    plain = np.concatenate(before, axis=1)
    tuned = {scheme: np.concatenate(parts, axis=1) for scheme, parts in after.items()}
    may_lose = max(1, int(_LOST * plain.shape[1]))
    gains = {
        scheme: float((figures[0] - plain[0]).mean())
        for scheme, figures in tuned.items()
        if plain[1].sum() - figures[1].sum() <= may_lose
    }
    best = max(gains, key=lambda scheme: gains[scheme], default=None)
    asked = {
        "queries": plain.shape[1],
        "map@r_before": float(plain[0].mean()),
        "recall@1_before": float(plain[1].mean()),
    }
    if best is None or gains[best] < _LEAST_GAIN:
        reason = "gains nothing" if best is not None else "loses first hits"
        return Tried(None, f"a head fitted to photos of held-out classes {reason}", asked)
    map_at_r, recall = (float(value) for value in tuned[best].mean(axis=1))
    return Tried(best, "held-out classes gain by it", asked | {"map@r": map_at_r, "recall@1": recall})


def _asked(gallery: np.ndarray, queries: np.ndarray, labels: np.ndarray, group: Group) -> np.ndarray:
    """Average precision at R, and whether the first hit is right, of each query that has an answer: float [2, n]."""
    found = evaluate_retrieval(
        torch.from_numpy(queries),
        torch.from_numpy(labels[group.queries]),
        torch.from_numpy(gallery),
        torch.from_numpy(labels[group.gallery]),
        ks=(1,),
        whole_ranking=False,
    )
    counted = found.is_counted
    return torch.stack([found.by_query["map@r"][counted], found.by_query["recall@1"][counted]]).numpy()
