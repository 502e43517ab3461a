"""Where a backbone's weights come from: this installation, a download, a file, a folder, or chance.

efficientnet_lite0      ImageNet weights, installed with Lookalike
NAME                    of timm: downloaded
hf-hub:OWNER/NAME       of the Hugging Face hub, with a configuration of timm: downloaded
NAME@FILE               of timm, with the weights of a file: safetensors, or a state dict that torch.save wrote. The
                        tensors are named as in timm, CLIP, open_clip, DINOv2 or others that timm converts
NAME@random             of timm, with random weights
package.module:Name     code of the user's that makes a network, with the weights it comes with, or those of @FILE
FOLDER                  as the hub has it: config.json and weights. The folder of a bundle is `ml.model.network`'s

Files are read as tensors and nothing else: what a pickle could run is refused.
"""

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub.errors import EntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models import _hub as timm_hub
from torch import Tensor

from ml import import_path
from ml.errors import LookalikeError
from ml.import_path import is_import_path
from ml.model import efficientnet_lite0
from ml.model.backbone import DEFAULT_BACKBONE, LITE0, default_preprocessing, preprocessing_of
from ml.preprocessing import Preprocessing

RANDOM = "random"
_HUB = "hf-hub:"
_HUB_FILES = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin")  # the first that there is
_SAFE = "save them as safetensors"
# Keys that a checkpoint keeps its weights under, and what processes that train together put before each name.
_WRAPPERS, _PREFIX = ("state_dict", "model", "teacher", "model_state_dict"), "module."


@dataclass(frozen=True)
class Pretrained:
    """A backbone's name, the preprocessing it was trained with, and its weights; None for those it is made with."""

    name: str
    preprocessing: Preprocessing
    state: Mapping[str, Tensor] | None


def pretrained_weights(backbone: str, weights: Path | None = None) -> Pretrained:
    """Finds what a backbone's text means; the module says which there are.

    Args:
        backbone: as the module says.
        weights: a file to read; the same as "NAME@FILE".

    Raises:
        LookalikeError: no such backbone, or its weights cannot be had.
    """
    if backbone.startswith(_HUB):
        return _of_hub(backbone)
    if Path(backbone).is_dir():
        return _of_folder(Path(backbone))
    name, _, file = backbone.partition("@")
    if name in (DEFAULT_BACKBONE, LITE0):
        name, preprocessing = LITE0, efficientnet_lite0.PREPROCESSING
        if weights is None and not file:
            installed = efficientnet_lite0.pretrained_weights()
            return Pretrained(LITE0, preprocessing, {key: torch.from_numpy(value) for key, value in installed.items()})
    else:
        preprocessing = default_preprocessing(name)
    if weights is not None:
        return Pretrained(name, preprocessing, read_weights(weights))
    if file:
        return Pretrained(name, preprocessing, None if file == RANDOM else read_weights(Path(file).expanduser()))
    return Pretrained(name, preprocessing, None if is_import_path(name) else _downloaded(name))


def check_name(backbone: str) -> None:
    """Whether there may be such a backbone, before its weights are looked for. Imports code that is named.

    Raises:
        LookalikeError: timm knows no such name, or the code cannot be imported.
    """
    name = backbone.partition("@")[0]
    if backbone.startswith(_HUB) or Path(backbone).is_dir() or name in (DEFAULT_BACKBONE, LITE0):
        return
    if is_import_path(name):
        import_path.load(name, "backbone")
    else:
        default_preprocessing(name)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, whatever else a training kept beside them.

    Raises:
        LookalikeError: there is no such file, or it holds anything but tensors and plain values.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise LookalikeError(f"there is no weights file {path}") from error
    except (OSError, SafetensorError) as error:
        raise LookalikeError(f"{path} cannot be read: {_first_line(error)}") from error
    except Exception as error:
        raise LookalikeError(f"{path} holds no plain weights: {_reason(error)}", hint=_SAFE) from error
    for key in _WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    tensors = state if isinstance(state, Mapping) else {}
    found = {str(key).removeprefix(_PREFIX): value for key, value in tensors.items() if isinstance(value, Tensor)}
    if not found:
        raise LookalikeError(f"{path} holds no weights by name", hint="save a state dict, best as safetensors")
    return found


def _downloaded(name: str) -> Mapping[str, Tensor]:
    try:
        return timm.create_model(name, pretrained=True, num_classes=0).state_dict()
    except Exception as error:
        if forbidden := _forbidden(error):
            raise LookalikeError(f"the weights of {name} are no plain ones: {forbidden}", hint=_SAFE) from error
        raise LookalikeError(
            f"the weights of {name} cannot be downloaded: {_first_line(error)}", hint=_without_download(name)
        ) from error


def _of_hub(backbone: str) -> Pretrained:
    repository = backbone.removeprefix(_HUB)
    try:
        config, name, _ = timm_hub.load_model_config_from_hf(repository)
        file = _weights_file(repository)
    except Exception as error:
        raise LookalikeError(
            f"{backbone} cannot be downloaded: {_first_line(error)}", hint=_without_download("NAME")
        ) from error
    return Pretrained(name, _preprocessing(config, name), read_weights(file))


def _weights_file(repository: str) -> Path:
    """A repository's weights, downloaded or from the hub's cache: safetensors where it has them."""
    for name in _HUB_FILES[:-1]:
        with contextlib.suppress(EntryNotFoundError):
            return Path(timm_hub.download_from_hf(repository, name))
    return Path(timm_hub.download_from_hf(repository, _HUB_FILES[-1]))


def _of_folder(folder: Path) -> Pretrained:
    """A folder that holds what a repository of the hub does."""
    try:
        config, name, _ = timm_hub.load_model_config_from_path(folder)
        files = [path for suffix in ("*.safetensors", "*.bin", "*.pt*") for path in sorted(folder.glob(suffix))]
        if not files:
            raise FileNotFoundError("no weights lie beside config.json")
    except Exception as error:
        raise LookalikeError(
            f"the folder {folder} holds no backbone: {_first_line(error)}",
            hint="name the folder of a model, or one with a config.json of timm and model.safetensors",
        ) from error
    return Pretrained(name, _preprocessing(config, name), read_weights(files[0]))


def _preprocessing(config: Mapping[str, Any], name: str) -> Preprocessing:
    default_preprocessing(name)  # raises for architectures that timm does not know
    return preprocessing_of(timm.models.PretrainedCfg(**config))


def _without_download(name: str) -> str:
    return (
        f"give a local file: {name}@weights.safetensors, or use {DEFAULT_BACKBONE}, which needs no download;"
        f" {name}@{RANDOM} begins from random weights"
    )


def _forbidden(error: Exception) -> str:
    """What a checkpoint holds that is no tensor, where it was refused for that; torch and timm advise to trust it."""
    found = re.search(r"(?:GLOBAL|Unsupported globals:) ([\w.]+)", str(error))
    return f"they hold {found[1]}, which is no tensor" if found else ""


def _reason(error: Exception) -> str:
    return _forbidden(error) or _first_line(error)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
