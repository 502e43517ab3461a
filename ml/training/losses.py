"""What training minimises: NormSoftmax, plain softmax, and others by name from pytorch-metric-learning.

A loss is a module called with features [n, d] as the head leaves them, before unit length, and labels [n]. Its own
parameters (class weights, proxies) are trained beside the network and thrown away afterwards.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ml.errors import LookalikeError

TEMPERATURE = 0.05


class NormSoftmax(nn.Module):
    """Cross-entropy over cosines to one weight vector per class (Zhai & Wu, BMVC 2019).

    Args:
        classes: how many.
        dim: of the features.
        temperature: that the cosines are divided by.
        weight: float32 [classes, dim] to begin with, for example class means; None draws them at random.
    """

    def __init__(
        self, classes: int, dim: int, *, temperature: float = TEMPERATURE, weight: Tensor | None = None
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.weight = nn.Parameter(torch.randn(classes, dim) if weight is None else weight.detach().clone())

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        cosine = functional.normalize(features, dim=1) @ functional.normalize(self.weight, dim=1).T
        return functional.cross_entropy(cosine / self.temperature, labels)


class Softmax(nn.Module):
    """Cross-entropy over a linear layer: the baseline, that only classifies.

    Args:
        classes: how many.
        dim: of the features.
    """

    def __init__(self, classes: int, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, classes)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(self.linear(features), labels)


class _MetricLearningLoss(nn.Module):
    """A loss of pytorch-metric-learning, with its miner where it wants one."""

    def __init__(self, loss: nn.Module, miner: nn.Module | None) -> None:
        super().__init__()
        self.loss, self.miner = loss, miner

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        pairs = self.miner(features, labels) if self.miner else None
        loss: Tensor = self.loss(features, labels, pairs)
        return loss


def make(
    name: str, classes: int, dim: int, *, temperature: float = TEMPERATURE, class_means: Tensor | None = None
) -> nn.Module:
    """The loss of that name.

    Args:
        name: one of `NAMES`.
        classes: how many.
        dim: of the features.
        temperature: of NormSoftmax.
        class_means: float32 [classes, dim] that NormSoftmax begins with.

    Raises:
        LookalikeError: there is no such loss.
    """
    if name == "normsoftmax":
        return NormSoftmax(classes, dim, temperature=temperature, weight=class_means)
    if name == "softmax":
        return Softmax(classes, dim)
    if name not in _PML_LOSSES:
        raise LookalikeError(f"loss must be one of {', '.join(NAMES)}, got {name!r}")
    return _PML_LOSSES[name](classes, dim)


def _pml_loss(
    loss: str, miner: str | None = None, *, has_classes: bool = False, **options: Any
) -> Callable[..., nn.Module]:
    def build(classes: int, dim: int) -> nn.Module:
        from pytorch_metric_learning import losses, miners

        sizes = {"num_classes": classes, "embedding_size": dim} if has_classes else {}
        return _MetricLearningLoss(
            getattr(losses, loss)(**sizes, **options), getattr(miners, miner)() if miner else None
        )

    return build


_PML_LOSSES = {
    "arcface": _pml_loss("ArcFaceLoss", has_classes=True),
    "circle": _pml_loss("CircleLoss"),
    "contrastive": _pml_loss("ContrastiveLoss"),
    "cosface": _pml_loss("CosFaceLoss", has_classes=True),
    "multi_similarity": _pml_loss("MultiSimilarityLoss", "MultiSimilarityMiner"),
    "proxy_anchor": _pml_loss("ProxyAnchorLoss", has_classes=True),
    "proxy_nca": _pml_loss("ProxyNCALoss", has_classes=True, softmax_scale=10),
    "soft_triple": _pml_loss("SoftTripleLoss", has_classes=True),
    "sub_center_arcface": _pml_loss("SubCenterArcFaceLoss", has_classes=True),
    "supcon": _pml_loss("SupConLoss"),
    "triplet": _pml_loss("TripletMarginLoss", "TripletMarginMiner"),
}

NAMES = ("normsoftmax", "softmax", *_PML_LOSSES)
