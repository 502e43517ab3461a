"""Whether a head gains from a gallery's own photos: tried on classes that it was not fitted on, by new queries.

`ml.tuning.gallery_head` fits a head to views and pairs of photos that nobody labelled. Beside a head that labels
taught, how much these are to weigh, and how many neighbours may propose each other, is for labels to say: every second
photo of some held-out classes stands for a gallery, the others ask. What gains there most, and loses no first hits, is
noted with the model (`Scheme.of`): the end of a training and `lookalike tune` follow it.

A network that was fine-tuned has held-out classes of its own. They are few, and it tells a few classes apart without a
fault: nothing could be seen to gain. So they are looked for among photos of the classes that it was taught, which stand
in the gallery as they do in a gallery that is labelled in part; the head is fitted to all of them. What those photos
lose by it is noted, too: a gallery that taught the network is better left alone (ml.tuning.taught). Of a network that
stays as it is, the head alone is taught, in a second: folds of all the classes are held out in turn.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ml.data.holdout import HeldOut
from ml.evaluation.metrics import evaluate_retrieval
from ml.tuning.gallery_head import FEWEST_PHOTOS, Scheme, fit_gallery, through
from ml.tuning.taught import TAUGHT, TAUGHT_BEFORE
from ml.tuning.views import views

# More neighbours gain more where each thing has many photos, and lose where it has two.
SCHEMES = tuple(Scheme(weight, *neighbours) for weight in (1.0, 2.0) for neighbours in ((50, 6), (25, 8)))
# A head on top of a network that was fine-tuned has less to lose: first hits, which 0.25 costs after `fast`, it keeps.
AFTER_FINE_TUNING = (Scheme(0.25, 25, 8), *SCHEMES)
VIEWS = 3
_FOLDS = (4, 2)
_ENOUGH = 300  # photos that stand for galleries, and bystanders
_LEAST_GAIN = 0.01  # mAP@R
_LOST = 0.005  # of the first hits, at most; a single one always may be


@dataclass(frozen=True)
class Group:
    """Classes that are held out together, by positions, int64 each.

    Args:
        gallery: those of their photos that stand in the gallery.
        queries: the others, which ask.
        bystanders: photos of other classes that stand in the gallery, too.
    """

    gallery: np.ndarray
    queries: np.ndarray
    bystanders: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def indexed(self) -> np.ndarray:
        """All that stand in the gallery: first its own photos, then the others."""
        return np.concatenate([self.gallery, self.bystanders])


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
        taught = np.flatnonzero(~held.is_held)
        group = _group(labels, np.setdiff1d(labels[held.is_held], labels[taught]))
        bystanders = np.sort(np.random.default_rng(abs(seed)).permutation(taught)[:_ENOUGH])
        return _large_enough([replace(group, bystanders=bystanders)])
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
        drawn = np.stack([views(pixels[row], VIEWS, seed=int(row)) for row in group.gallery], axis=1)
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
    found: dict[Scheme | None, list[np.ndarray]] = {scheme: [] for scheme in (None, *schemes)}
    known: dict[Scheme | None, list[np.ndarray]] = {scheme: [] for scheme in (None, *schemes)}
    for group in groups:
        vectors, of_views = (rows.numpy() for rows in embed(group))
        gallery, queries = vectors[group.indexed], vectors[group.queries]
        of_each_view = list(of_views.reshape(VIEWS, len(group.gallery), -1))
        for scheme in found:
            tune = _as_it_is if scheme is None else through(fit_gallery(gallery, of_each_view, scheme).linear_map)
            found[scheme].append(_asked(tune(gallery), tune(queries), labels, group))
            known[scheme].append(_known(tune(vectors[group.bystanders]), labels[group.bystanders]))
    figures = {scheme: np.concatenate(parts, axis=1) for scheme, parts in found.items()}
    plain = figures.pop(None)
    may_lose = max(1, int(_LOST * plain.shape[1]))
    gains = {
        scheme: float((tuned[0] - plain[0]).mean())
        for scheme, tuned in figures.items()
        if plain[1].sum() - tuned[1].sum() <= may_lose
    }
    best = max(gains, key=lambda scheme: gains[scheme], default=None)
    asked = {
        "queries": plain.shape[1],
        "map@r_before": float(plain[0].mean()),
        "recall@1_before": float(plain[1].mean()),
    }
    if best is None or gains[best] < _LEAST_GAIN:
        reason = "gains nothing" if best is not None else "loses first hits"
        why = f"a head fitted to photos of held-out classes {reason}"
        # `lookalike tune` can be asked for all the same, and then believes the gallery as much as that.
        return Tried(None, why, asked | _taught(known, min(schemes, key=lambda scheme: scheme.shrinkage)))
    map_at_r, recall = (float(value) for value in figures[best].mean(axis=1))
    asked |= {"map@r": map_at_r, "recall@1": recall}
    return Tried(best, "held-out classes gain by it", asked | _taught(known, best))


def _as_it_is(vectors: np.ndarray) -> np.ndarray:
    return vectors


def _taught(known: Mapping[Scheme | None, Sequence[np.ndarray]], scheme: Scheme) -> dict[str, float]:
    """mAP@R of photos that taught the network, as it is and by a scheme; nothing where none stood by."""
    before, after = (np.concatenate(known[each]) for each in (None, scheme))
    return {TAUGHT_BEFORE: float(before.mean()), TAUGHT: float(after.mean())} if len(before) else {}


def _known(vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Average precision at R of each photo that finds its like among the others: float [n]."""
    if len(np.unique(labels)) == len(labels):
        return np.empty(0)
    rows, classes = torch.from_numpy(vectors), torch.from_numpy(labels)
    found = evaluate_retrieval(rows, classes, ks=(1,), whole_ranking=False)
    return found.by_query["map@r"][found.is_counted].numpy()


def _asked(gallery: np.ndarray, queries: np.ndarray, labels: np.ndarray, group: Group) -> np.ndarray:
    """Average precision at R, and whether the first hit is right, of each query that has an answer: float [2, n]."""
    found = evaluate_retrieval(
        torch.from_numpy(queries),
        torch.from_numpy(labels[group.queries]),
        torch.from_numpy(gallery),
        torch.from_numpy(labels[group.indexed]),
        ks=(1,),
        whole_ranking=False,
    )
    counted = found.is_counted
    return torch.stack([found.by_query["map@r"][counted], found.by_query["recall@1"][counted]]).numpy()
