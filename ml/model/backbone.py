"""timm's backbones: which there are, what preprocessing each was trained with, and where its weights come from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ml.errors import LookalikeError
from ml.model import efficientnet_lite0
from ml.preprocessing import Preprocessing

DEFAULT_BACKBONE = "efficientnet_lite0"
LITE0 = efficientnet_lite0.NAME  # timm's name of the same


def default_preprocessing(name: str) -> Preprocessing:
    """What timm says a backbone was trained with.

    Raises:
        LookalikeError: timm knows no such backbone.
    """
    config = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    if config is None:
        similar = timm.list_models(f"*{name.split('.')[0]}*")[:3]
        hint = f"for example {', '.join(similar)}" if similar else "names are those of timm.list_models()"
        raise LookalikeError(f"there is no backbone {name!r}", hint=hint)
    size = int(config.input_size[-1])
    return Preprocessing(
        size_px=size,
        resize_px=max(size, round(size / config.crop_pct)),
        fit="crop",
        interpolation=config.interpolation if config.interpolation in ("bilinear", "bicubic") else "bicubic",
        mean=config.mean[:3],  # type: ignore[arg-type]
        std=config.std[:3],  # type: ignore[arg-type]
        mirror=False,
    )


def create(name: str, size_px: int) -> nn.Module:
    """A backbone with random weights: normalised float [n, 3, size_px, size_px] to pooled features [n, feature_dim].

    Raises:
        LookalikeError: timm knows no such backbone.
    """
    usual_px = default_preprocessing(name).size_px  # raises for unknown names
    config: Any = timm.get_pretrained_cfg(name)
    size: dict[str, Any] = {"img_size": size_px} if config.fixed_input_size and size_px != usual_px else {}
    return timm.create_model(name, pretrained=False, num_classes=0, **size)


def pretrained_weights(backbone: str, weights: Path | None = None) -> tuple[str, dict[str, Tensor]]:
    """timm's name of a backbone, and weights for it under timm's names.

    Args:
        backbone: "efficientnet_lite0", any name of timm, or "NAME@FILE".
        weights: a file to read; the same as "NAME@FILE".

    Raises:
        LookalikeError: no such backbone, or its weights cannot be had.
    """
    name, _, file = backbone.partition("@")
    weights = weights or (Path(file) if file else None)
    if name in (DEFAULT_BACKBONE, LITE0) and weights is None:
        return LITE0, {key: torch.from_numpy(value) for key, value in efficientnet_lite0.pretrained_weights().items()}
    return name, _downloaded(name) if weights is None else _read_weights(weights)


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise LookalikeError(f"there is no weights file {path}") from error
    except Exception as error:
        raise LookalikeError(
            f"{path} holds no plain weights: {str(error).splitlines()[0]}", hint="convert it to safetensors"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    return {key.removeprefix("module."): value for key, value in state.items() if isinstance(value, Tensor)}


def _downloaded(name: str) -> dict[str, Tensor]:
    default_preprocessing(name)  # raises for unknown names
    try:
        return timm.create_model(name, pretrained=True, num_classes=0).state_dict()
    except Exception as error:
        raise LookalikeError(
            f"the weights of {name} cannot be downloaded: {str(error).splitlines()[0]}",
            hint=f"give a local file: {name}@weights.safetensors, or use {DEFAULT_BACKBONE}, which needs no download",
        ) from error


def load_weights(backbone: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    """Fills a backbone; what is left over in `state`, a classifier say, is not used.

    Raises:
        LookalikeError: a tensor is missing or has another shape.
    """
    expected = backbone.state_dict()
    fitting = {key: state[key] for key in expected if key in state}
    absent = [key for key in expected if key not in state and not key.endswith("num_batches_tracked")]
    if absent:
        raise LookalikeError(f"the weights lack {absent[0]} and {len(absent) - 1} more of {name}")
    try:
        backbone.load_state_dict(fitting, strict=False)
    except RuntimeError as error:
        raise LookalikeError(f"the weights do not fit {name}: {str(error).splitlines()[-1].strip()}") from error
