"""The most similar of each row, in order, and average precisions over whole rows, as fast as the processor allows.

On a CPU in NumPy, whose selection and sorting use vector instructions and are several times as fast as torch's; torch
elsewhere. Equal similarities keep the order of their positions.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from ml import cores

_PART = 64  # fewest rows that a thread is given


def largest(similarity: Tensor, width: int) -> Tensor:
    """Positions of the `width` largest of each row, int64 [n, width]: largest first, equal ones in their order."""
    if similarity.device.type == "cpu":
        return _in_threads(lambda rows: _largest(rows, width), similarity)
    return _largest_in_torch(similarity, width)


def average_precisions(similarity: Tensor, right: Tensor, is_right: Tensor) -> Tensor:
    """Average precision over the whole ranking, float32 [n]; 0 where nothing is right.

    The mean over right images of the share of right ones among all at least as similar: one sorted row, and a binary
    search in it for each right image.

    Args:
        similarity: float32 [n, m]; -inf for what is no candidate.
        right: int64 [n, r], positions of the right images of each row, and anything in the places left over.
        is_right: bool [n, r], which of them count.
    """
    ascending = ordered(similarity)
    values = ordered(similarity.gather(1, right).masked_fill(~is_right, torch.inf))
    counts = is_right.sum(1, keepdim=True)
    is_real = torch.arange(values.shape[1], device=values.device) < counts
    at_least = similarity.shape[1] - torch.searchsorted(ascending, values)
    right_at_least = counts - torch.searchsorted(values, values)
    precision = torch.where(is_real, right_at_least / at_least.clamp(min=1), 0.0)
    return precision.sum(1) / counts[:, 0].clamp(min=1)


def ordered(values: Tensor) -> Tensor:
    """Each row in ascending order."""
    if values.device.type == "cpu":
        return _in_threads(lambda rows: np.sort(rows, axis=1), values)
    return values.sort(dim=1).values


def _in_threads(work: Callable[[np.ndarray], np.ndarray], rows: Tensor) -> Tensor:
    """Applies work to parts of the rows side by side: NumPy lets go of the interpreter meanwhile."""
    array = rows.numpy()
    count = min(cores.available(), max(1, len(array) // _PART))
    if count == 1:
        return torch.from_numpy(work(array))
    with ThreadPoolExecutor(count) as threads:
        return torch.from_numpy(np.concatenate(list(threads.map(work, np.array_split(array, count)))))


def _largest(rows: np.ndarray, width: int) -> np.ndarray:
    """Selects by a threshold, the width-th largest of a row, and orders only what reaches it."""
    if 4 * width >= rows.shape[1]:
        return np.argsort(-rows, axis=1, kind="stable")[:, :width]
    threshold = np.partition(rows, rows.shape[1] - width, axis=1)[:, -width, None]
    reaches = rows >= threshold
    order = np.empty((len(rows), width), np.int64)
    is_exact = reaches.sum(1) == width
    exact = rows[is_exact] if not is_exact.all() else rows
    positions = np.nonzero(reaches[is_exact])[1].reshape(-1, width)
    ranking = np.argsort(-np.take_along_axis(exact, positions, 1), axis=1, kind="stable")
    order[is_exact] = np.take_along_axis(positions, ranking, 1)
    for row in np.flatnonzero(~is_exact):  # equal ones at the threshold: the first of them count
        (places,) = np.nonzero(reaches[row])
        order[row] = places[np.argsort(-rows[row, places], kind="stable")[:width]]
    return order


def _largest_in_torch(similarity: Tensor, width: int) -> Tensor:
    taken = min(width + 1, similarity.shape[1])
    values, order = similarity.topk(taken, dim=1)
    order, by_position = order.sort(dim=1)
    ranking = values.gather(1, by_position).sort(dim=1, descending=True, stable=True).indices
    order = order.gather(1, ranking)[:, :width]
    if taken > width:
        # topk takes any of the equal ones at its edge; where there are such, the whole row is sorted.
        is_cut = values[:, width - 1] == values[:, width]
        if bool(is_cut.any()):
            order[is_cut] = similarity[is_cut].sort(dim=1, descending=True, stable=True).indices[:, :width]
    return order
