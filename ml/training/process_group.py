"""The processes that train together, each on its share of every batch: every n-th image of it.

A loss over pairs or triplets compares images of the whole batch, and so must see all of it: a process that mined its
own share alone would find other pairs, or none. `gathered` gives every process the features of the whole batch, and
takes back the gradients of its own rows. Every process then computes the loss that one process would have computed.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, distributed

from ml.errors import LookalikeError


def check_gpus_here(gpus: int | None) -> None:
    """Refuses more GPUs than PyTorch can use on this machine. Of a cluster, `check_cards` asks Ray.

    Args:
        gpus: of all processes together; None for those that there are.

    Raises:
        LookalikeError: there are fewer.
    """
    available = torch.cuda.device_count()
    if gpus is not None and gpus > available:
        raise _too_many(gpus, available, "PyTorch can use")


def check_cards(workers: int, gpus: int | None, available: int | None = None) -> None:
    """Refuses what would make two processes share a card, or leave one idle.

    Args:
        workers: processes.
        gpus: of all of them together; 0 for CPUs, None for one each where there are any.
        available: GPUs that Ray has; None where that is not known yet.

    Raises:
        LookalikeError: the numbers do not go together.
    """
    if gpus not in (None, 0, workers):
        raise LookalikeError(
            f"gpus must be 0 or the number of workers, {workers}, got {gpus}: each process trains on a card of its own",
            hint=f"--workers {gpus}, --gpus {workers}, or --gpus 0 for CPUs",
        )
    if available is None or gpus == 0:
        return
    if gpus is not None and gpus > available:
        raise _too_many(gpus, available, "Ray has")
    if gpus is None and 0 < available < workers:
        raise LookalikeError(
            f"workers must be <= {available}, the GPUs that Ray has, got {workers}: two never share one",
            hint=f"lower --workers, or train on CPUs with --gpus 0; {_CLUSTER}",
        )


def _too_many(gpus: int, available: int, whose: str) -> LookalikeError:
    if available:
        return LookalikeError(f"gpus must be <= {available}, the GPUs that {whose}, got {gpus}", hint=_CLUSTER)
    return LookalikeError(
        f"there is no GPU that {whose}, got gpus {gpus}", hint=f"leave --gpus out to train on CPUs; {_CLUSTER}"
    )


_CLUSTER = "set RAY_ADDRESS for a cluster"


class ProcessGroup(Protocol):
    """The processes that train together."""

    rank: int
    world_size: int

    def mean(self, tensors: Sequence[Tensor]) -> None:
        """Replaces each tensor by its mean over the processes."""

    def gather(self, rows: Tensor) -> Tensor:
        """Equally many rows [m, d] of every process, in the order of ranks, [world_size, m, d]. Without gradients."""


class SingleProcess:
    """One process."""

    rank, world_size = 0, 1

    def mean(self, tensors: Sequence[Tensor]) -> None:
        return None

    def gather(self, rows: Tensor) -> Tensor:
        return rows[None]


class TorchProcessGroup:
    """The processes of this process's torch group."""

    def __init__(self) -> None:
        self.rank = distributed.get_rank()
        self.world_size = distributed.get_world_size()
        self._is_nccl = distributed.get_backend() == "nccl"

    def mean(self, tensors: Sequence[Tensor]) -> None:
        """Replaces each tensor by its mean over the processes: one message for all of them."""
        flat = self._sendable(torch.cat([tensor.reshape(-1).float() for tensor in tensors]))
        distributed.all_reduce(flat)
        flat /= self.world_size
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.reshape(tensor.shape))

    def gather(self, rows: Tensor) -> Tensor:
        """Equally many rows [m, d] of every process, in the order of ranks, [world_size, m, d]. Without gradients."""
        own = self._sendable(rows.detach().float().contiguous())
        parts = [torch.empty_like(own) for _ in range(self.world_size)]
        distributed.all_gather(parts, own)
        return torch.stack(parts).to(rows)

    def _sendable(self, tensor: Tensor) -> Tensor:
        return tensor.cuda() if self._is_nccl else tensor.cpu()


def gathered(features: Tensor, batch: int, process_group: ProcessGroup) -> Tensor:
    """The features of the whole batch, in its order, with gradients for the own rows.

    The gradient of own rows is multiplied by the number of processes: what follows averages gradients over them, and a
    sum is meant. A loss's own weights see the whole batch in every process, and their mean is right as it is.

    Args:
        features: float [m, d], of this process's share: rows rank, rank + world_size, … of the batch.
        batch: images of the whole batch.
        process_group: the processes.

    Returns:
        float [batch, d].
    """
    if process_group.world_size == 1:
        return features
    whole: Tensor = _Gather.apply(features, batch, process_group)
    return whole


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, batch: int, process_group: ProcessGroup) -> Tensor:
        ctx.rank, ctx.world_size = process_group.rank, process_group.world_size
        longest = -(-batch // process_group.world_size)
        padded = own.new_zeros(longest, own.shape[1])  # shares differ by one row where the processes do not divide it
        padded[: len(own)] = own
        # Row j of rank r is row j * world_size + r of the batch, so that what was padded comes last.
        return process_group.gather(padded).transpose(0, 1).reshape(-1, own.shape[1])[:batch]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        return gradient[ctx.rank :: ctx.world_size] * ctx.world_size, None, None
