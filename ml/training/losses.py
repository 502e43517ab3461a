"""What training minimises: NormSoftmax, plain softmax, any of pytorch-metric-learning, or code of the user's.

A loss is a module called with features [n, d] as the head leaves them, before unit length, and labels [n]. Its own
parameters (class weights, proxies) are trained beside the network and thrown away afterwards.
"""

import functools
import importlib
import inspect
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ml.errors import LookalikeError
from ml.import_path import FORM, is_import_path, load
from ml.import_path import make as make_from

TEMPERATURE = 0.05
OWN_MINER, NO_MINER = "own", "none"


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


class MinedLoss(nn.Module):
    """A loss over pairs or triplets, with the miner that chooses them; with a miner it gets its choice as a third
    argument, as pytorch-metric-learning's do."""

    def __init__(self, loss: nn.Module, miner: nn.Module | None) -> None:
        super().__init__()
        self.loss, self.miner = loss, miner

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        value: Tensor = self.loss(features, labels, *([self.miner(features, labels)] if self.miner else []))
        return value


def check(loss: str, miner: str) -> None:
    """Raises LookalikeError unless there are a loss and a miner of these names. Imports nothing of the user's."""
    if not (loss in NAMES or is_import_path(loss) or loss in _pml("losses")):
        allowed = f"{', '.join(NAMES)}, a class of pytorch_metric_learning.losses or {FORM}"
        raise LookalikeError(
            f"loss must be one of {allowed}, got {loss!r}",
            hint=f"its classes are {', '.join(sorted(_pml('losses')))}",
        )
    if not (miner in (OWN_MINER, NO_MINER) or is_import_path(miner) or miner in _pml("miners")):
        allowed = f"{OWN_MINER}, {NO_MINER}, a class of pytorch_metric_learning.miners or {FORM}"
        raise LookalikeError(
            f"miner must be one of {allowed}, got {miner!r}",
            hint=f"its classes are {', '.join(sorted(_pml('miners')))}",
        )
    if miner not in (OWN_MINER, NO_MINER) and loss in _OF_CLASSES:
        raise LookalikeError(f"loss {loss} compares with classes, and takes no miner", hint="leave out miner")


def make(
    name: str,
    classes: int,
    dim: int,
    *,
    miner: str = OWN_MINER,
    temperature: float = TEMPERATURE,
    class_means: Tensor | None = None,
) -> nn.Module:
    """The loss of that name.

    Args:
        name: one of `NAMES`, a class of pytorch-metric-learning (SupConLoss), or an import path. A class is called with
            those of num_classes (or classes) and embedding_size (or dim) that it takes.
        classes: how many.
        dim: of the features.
        miner: own for the one that comes with the loss, none, a class of pytorch-metric-learning or an import path.
        temperature: of NormSoftmax.
        class_means: float32 [classes, dim] that NormSoftmax begins with.

    Raises:
        LookalikeError: there is no such loss or miner, or it cannot be made.
    """
    check(name, miner)
    if name == "normsoftmax":
        return NormSoftmax(classes, dim, temperature=temperature, weight=class_means)
    if name == "softmax":
        return Softmax(classes, dim)
    known = _PML_LOSSES.get(name, _Known(name))
    code = load(name, "loss") if is_import_path(name) else _pml("losses")[known.loss]
    sizes = {"num_classes": classes, "classes": classes, "embedding_size": dim, "descriptors_dim": dim, "dim": dim}
    loss = make_from(code, f"loss {name}", **sizes, **known.options)
    if not isinstance(loss, nn.Module):
        raise LookalikeError(f"loss {name} must be a torch.nn.Module, got {type(loss).__name__}")
    return MinedLoss(loss, _miner(known.miner if miner == OWN_MINER else miner))


def _miner(name: str) -> nn.Module | None:
    if name == NO_MINER:
        return None
    code = load(name, "miner") if is_import_path(name) else _pml("miners")[name]
    made: nn.Module = make_from(code, f"miner {name}")
    return made


@functools.cache
def _pml(module: str) -> dict[str, Any]:
    """The classes of pytorch_metric_learning.losses or .miners that stand on their own."""
    package = importlib.import_module(f"pytorch_metric_learning.{module}")
    base = {"losses": "BaseMetricLossFunction", "miners": "BaseMiner"}[module]
    return {
        name: code
        for name, code in vars(package).items()
        if inspect.isclass(code) and issubclass(code, getattr(package, base)) and name not in (base, "GenericPairLoss")
    }


@dataclass(frozen=True)
class _Known:
    """A loss of pytorch-metric-learning under a name of its own: its class, the miner it wants, and what it is made
    with."""

    loss: str
    miner: str = NO_MINER
    options: dict[str, Any] = field(default_factory=dict)


_PML_LOSSES = {
    "arcface": _Known("ArcFaceLoss"),
    "circle": _Known("CircleLoss"),
    "contrastive": _Known("ContrastiveLoss"),
    "cosface": _Known("CosFaceLoss"),
    "multi_similarity": _Known("MultiSimilarityLoss", "MultiSimilarityMiner"),
    "proxy_anchor": _Known("ProxyAnchorLoss"),
    "proxy_nca": _Known("ProxyNCALoss", options={"softmax_scale": 10}),
    "soft_triple": _Known("SoftTripleLoss"),
    "sub_center_arcface": _Known("SubCenterArcFaceLoss"),
    "supcon": _Known("SupConLoss"),
    "triplet": _Known("TripletMarginLoss", "TripletMarginMiner"),
}

NAMES = ("normsoftmax", "softmax", *_PML_LOSSES)
_OF_CLASSES = ("normsoftmax", "softmax")
