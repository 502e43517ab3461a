"""Which images make a batch. The order is a function of (seed, epoch) alone, so that a resumed run repeats it."""

from collections.abc import Iterator

import numpy as np


def class_balanced(
    labels: np.ndarray, *, classes_per_batch: int, images_per_class: int, seed: int, epoch: int
) -> Iterator[np.ndarray]:
    """One epoch of batches with `images_per_class` images of each of some classes (Zhai & Wu, section 3.4).

    Classes come in turn, in a new order each round, so that all are seen equally often; within a class its images
    come in turn too. A class with fewer images repeats them. Data with fewer classes than a batch wants takes more
    images of each.

    Args:
        labels: int64 [n].
        classes_per_batch: different classes in a batch.
        images_per_class: of each.
        seed: of the run.
        epoch: 0 for the first.

    Yields:
        Positions int64 [batch], n // batch times and at least once.
    """
    classes = np.unique(labels)
    batch = classes_per_batch * images_per_class
    per_batch = min(classes_per_batch, len(classes))
    # Shares of a batch differ by at most one where the classes do not divide it.
    sizes = [batch // per_batch + (place < batch % per_batch) for place in range(per_batch)]
    random = np.random.default_rng([seed, epoch])
    members = {int(c): np.flatnonzero(labels == c) for c in classes}
    waiting: dict[int, list[int]] = {c: [] for c in members}
    turn: list[int] = []
    for _ in range(max(1, len(labels) // batch)):
        if len(turn) < per_batch:
            fresh = [int(c) for c in random.permutation(classes)]
            # Those still waiting from the last round come first, and no class comes twice in one batch.
            turn += [c for c in fresh if c not in turn[:per_batch]] + [c for c in fresh if c in turn[:per_batch]]
        chosen, turn = turn[:per_batch], turn[per_batch:]
        positions: list[int] = []
        for label, size in zip(chosen, sizes, strict=True):
            while len(waiting[label]) < size:
                waiting[label] += random.permutation(members[label]).tolist()
            positions += waiting[label][:size]
            waiting[label] = waiting[label][size:]
        yield np.array(positions, np.int64)


def shuffled(count: int, *, batch: int, seed: int, epoch: int) -> Iterator[np.ndarray]:
    """One epoch of batches in random order, the incomplete last one left out unless it is the only one."""
    order = np.random.default_rng([seed, epoch]).permutation(count)
    for start in range(0, max(1, count - batch + 1), batch):
        yield order[start : start + batch]
