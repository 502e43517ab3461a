"""Which images a training holds out, to watch it, to measure it and to find the threshold of a match.

Whole classes are the honest choice where classes will come that nobody has trained on. With few classes they cost too
much: one of ten is a tenth of all that there is to learn, and figures of one class say little. Then images of every
class are held out. What the data's owner holds out (rows of a table that say val) goes before either.
"""

from dataclasses import dataclass

import numpy as np

from ml.data import datasets
from ml.data.datasets import BadDataset, Dataset

SPLITS = ("auto", "classes", "images")
FEW_CLASSES = 20
_LEAST = 2  # images of a class on either side: one would have no neighbour of its class


@dataclass(frozen=True)
class HeldOut:
    """Which images are held out, bool [n]; how they were chosen: val, classes, images or none; and why so."""

    is_held: np.ndarray
    split: str
    why: str


def hold_out(dataset: Dataset, share: float, *, split: str = "auto", seed: int = 0) -> HeldOut:
    """Chooses.

    Args:
        dataset: to split.
        share: of classes, or of each class's images.
        split: classes, images, or auto for what suits the number of classes.
        seed: of the choice.

    Raises:
        BadDataset: the data's own choice leaves nothing to train on or nothing to measure.
    """
    if dataset.held is not None and dataset.held.any():
        _check_own_choice(dataset, dataset.held)
        return HeldOut(dataset.held, "val", "the table says which rows are val")
    if share <= 0:
        return HeldOut(np.zeros(len(dataset), bool), "none", "nothing is to be held out")
    classes, images = datasets.held_out(dataset, share, seed=seed), _of_each_class(dataset, share, seed)
    is_few = len(dataset.classes) < FEW_CLASSES
    why = f"there are {len(dataset.classes)} classes, {'fewer than' if is_few else 'at least'} {FEW_CLASSES}"
    if split == "images" or (split == "auto" and is_few and images.any()):
        if images.any():
            return HeldOut(images, "images", why if split == "auto" else "it was asked for")
    elif classes.any():
        return HeldOut(classes, "classes", why if split == "auto" else "it was asked for")
    return HeldOut(np.zeros(len(dataset), bool), "none", "there are too few classes, or images of them")


def _of_each_class(dataset: Dataset, share: float, seed: int) -> np.ndarray:
    """Of each class a share of its images, at least two; none of a class that would keep fewer than two."""
    random = np.random.default_rng(abs(seed))
    is_held = np.zeros(len(dataset), bool)
    for label in range(len(dataset.classes)):
        own = random.permutation(np.flatnonzero(dataset.labels == label))
        count = max(_LEAST, round(share * len(own)))
        if len(own) - count >= _LEAST:
            is_held[own[:count]] = True
    return is_held


def _check_own_choice(dataset: Dataset, is_held: np.ndarray) -> None:
    measured, trained = dataset.labels[is_held], dataset.labels[~is_held]
    if np.bincount(measured).max(initial=0) < _LEAST or len(np.unique(measured)) < 2:
        raise BadDataset(
            f"the val rows of {dataset.name} have nothing to measure",
            hint="give at least two classes with two images in one of them, or leave val out",
        )
    if len(np.unique(trained)) < 2:
        raise BadDataset(f"{dataset.name} has fewer than two classes besides its val rows", hint="call more rows train")
