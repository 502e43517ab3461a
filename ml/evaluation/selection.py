"""The most similar of each row, in order, and average precisions over whole rows, as fast as the processor allows.

On a CPU in NumPy, whose selection and sorting use vector instructions and are several times as fast as torch's; torch
elsewhere. Equal similarities keep the order of their positions.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from ml import cores

_PART = 64  # fewest rows that a thread is given
_STRIDE = 6  # of a row, one number in so many is its sample


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
    """Orders only what reaches a bound somewhat below the width-th largest of a row, which a sample of it gives."""
    columns, expected = rows.shape[1], width / _STRIDE
    rank = math.ceil(expected + 3 * math.sqrt(expected)) + 4  # so that hardly a row has too few
    if 2 * rank * _STRIDE >= columns:
        return _sorted(rows, width)
    sample = np.ascontiguousarray(rows[:, ::_STRIDE])
    places = np.flatnonzero(rows >= np.partition(sample, sample.shape[1] - rank, axis=1)[:, -rank, None])
    starts = np.arange(len(rows) + 1) * columns
    counts = np.diff(np.searchsorted(places, starts))
    is_usual = (counts >= width) & (counts <= 2 * rank * _STRIDE)  # not of rows of which much is equal
    if not is_usual.all():
        order = np.empty((len(rows), width), np.int64)
        order[~is_usual] = _sorted(rows[~is_usual], width)
        if is_usual.any():
            order[is_usual] = _largest(rows[is_usual], width)
        return order
    # A number and its position as one integer: plain sorting, which has vector instructions, keeps the order of equal
    # ones. Subtracted from 0 rather than negated, -0 equals 0; the bits of a negative number fall as it rises.
    keys = (np.float32(0) - rows.reshape(-1)[places]).view(np.int32)
    keys ^= (keys >> 31) & 0x7FFFFFFF
    ranking = np.full((len(rows), counts.max(initial=width)), np.iinfo(np.int64).max)
    positions = places - np.repeat(starts[:-1], counts)
    ranking[np.arange(ranking.shape[1]) < counts[:, None]] = keys.astype(np.int64) << 32 | positions
    ranking.sort(axis=1)
    return ranking[:, :width] & 0xFFFFFFFF


def _sorted(rows: np.ndarray, width: int) -> np.ndarray:
    return np.argsort(-rows, axis=1, kind="stable")[:, :width]


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
