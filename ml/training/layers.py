"""The layers of a backbone in order, as timm groups them: which stay as they are, and how fast each one learns.

The first layer is the stem or the patch embedding, with position embeddings; then come the blocks; then what follows
them. Vision transformers are fine-tuned with rates that fall from the last layer to the first (BEiT, Bao et al., 2021).
"""

from typing import Any

from timm.models import group_parameters
from timm.optim._param_groups import auto_group_layers
from torch import nn

from ml.errors import LookalikeError


def numbers(backbone: nn.Module) -> dict[str, int]:
    """The layer that each parameter is in, by the parameter's name; 0 is the first."""
    matcher: Any = getattr(backbone, "group_matcher", None)
    groups: dict[str, int] = (
        auto_group_layers(backbone)  # type: ignore[no-untyped-call]
        if matcher is None
        else group_parameters(backbone, matcher(coarse=False), reverse=True)
    )
    # timm numbers what belongs to no layer, and some heads, far behind the others.
    order = {number: place for place, number in enumerate(sorted(set(groups.values())))}
    return {name: order[number] for name, number in groups.items()}


def check(backbone: nn.Module, count: int) -> None:
    """Raises LookalikeError unless something is left to train when so many of the first layers are frozen."""
    if not count:
        return
    layers = 1 + max(numbers(backbone).values())
    if count >= layers:
        raise LookalikeError(
            f"frozen_layers must be < {layers}, the layers of this backbone, got {count}",
            hint="to train none of it use --preset fast",
        )


def freeze(backbone: nn.Module, count: int) -> None:
    """Keeps the first layers as they are; see `check`."""
    layer_of = numbers(backbone) if count else {}
    for name, parameter in backbone.named_parameters():
        if layer_of.get(name, count) < count:
            parameter.requires_grad_(False)


def by_rate(backbone: nn.Module, decay: float) -> list[tuple[float, list[nn.Parameter]]]:
    """The parameters that are trained, by the factor of their learning rate; the highest factor, 1, first."""
    trained = [(name, parameter) for name, parameter in backbone.named_parameters() if parameter.requires_grad]
    if decay == 1:
        return [(1.0, [parameter for _, parameter in trained])]
    layer_of = numbers(backbone)
    last = max((layer_of[name] for name, _ in trained), default=0)
    groups: dict[int, list[nn.Parameter]] = {}
    for name, parameter in trained:
        groups.setdefault(layer_of[name], []).append(parameter)
    return [(decay ** (last - layer), groups[layer]) for layer in sorted(groups, reverse=True)]
