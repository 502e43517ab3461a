"""Code of somebody who trains, as docs/how-to/train-a-model.md says: a loss, a miner, an augmentation, a backbone."""

import torch
from pytorch_metric_learning.miners import BatchHardMiner
from torch import Tensor, distributed, nn
from torch.nn import functional

made: list[str] = []


class Loss(nn.Module):
    """Softmax over classes, with the sizes that it asks for."""

    def __init__(self, num_classes: int, dim: int) -> None:
        super().__init__()
        made.append(f"loss {num_classes} {dim}")
        self.linear = nn.Linear(dim, num_classes)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(self.linear(features), labels)


class FailingLoss(Loss):
    """Can be made, and fails at the first batch."""

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        raise ValueError("no such features")


class LossOfItsGroup(Loss):
    """Ends the group of the second process at its first batch, once: what Ray does to those whose neighbour died.

    A Ray actor named `once`, whose `is_first` says whether this is the time, has to be there.
    """

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        import ray

        if distributed.get_rank() == 1 and ray.get(ray.get_actor("once").is_first.remote()):
            distributed.destroy_process_group()
        return super().forward(features, labels)


class Miner(BatchHardMiner):
    """Counts its calls."""

    def forward(self, *args: Tensor) -> tuple[Tensor, ...]:
        made.append("mined")
        triplets: tuple[Tensor, ...] = super().forward(*args)
        return triplets


class Greyed:
    """Photos without colour."""

    def __call__(self, pixels: Tensor, size_px: int, draws: Tensor) -> Tensor:
        made.append(f"varied {tuple(draws.shape)}")
        grey = pixels.permute(0, 3, 1, 2).float().mean(1, keepdim=True).expand(-1, 3, -1, -1) / 255
        return functional.interpolate(grey, size_px)


class TooSmall:
    """Not what was asked for."""

    def __call__(self, pixels: Tensor, size_px: int, draws: Tensor) -> Tensor:
        return torch.zeros(len(pixels), 3, 8, 8)


def backbone(size_px: int) -> nn.Module:
    """Two convolutions."""
    made.append(f"backbone {size_px}")
    return nn.Sequential(
        nn.Conv2d(3, 8, 4, 4), nn.ReLU(), nn.Conv2d(8, 24, 4, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


def no_module() -> str:
    """Something that cannot be trained."""
    return "no module"
