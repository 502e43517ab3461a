"""timm's backbones: which there are, what preprocessing each was trained with, and how each is built for a size.

Vision transformers are built for one number of patches. They are built for the size that is asked for, and weights of
another size get their position embeddings resampled (`load_weights`). Where weights come from: `ml.model.weights`.
"""

import difflib
import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any

import timm
import torch
from torch import Tensor, nn

from ml import import_path
from ml.errors import LookalikeError
from ml.import_path import is_import_path
from ml.model import efficientnet_lite0
from ml.preprocessing import Preprocessing

DEFAULT_BACKBONE = "efficientnet_lite0"
LITE0 = efficientnet_lite0.NAME  # timm's name of the same

# Of networks that say nothing of their own.
IMAGENET = Preprocessing(224, 256, "crop", "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), False)

_FITS = {"center": "crop", "squash": "squash", "border": "pad"}  # timm's words for ways to fit an image
_INTERPOLATIONS = ("bilinear", "bicubic", "lanczos")
_WRONG_SIZE = (AssertionError, RuntimeError, ValueError)  # what timm's networks raise for another size than theirs


def default_preprocessing(name: str) -> Preprocessing:
    """What timm says a backbone was trained with; of code of the user's, what ImageNet's usual networks were.

    Raises:
        LookalikeError: timm knows no such backbone.
    """
    if is_import_path(name):
        return IMAGENET
    return preprocessing_of(_config(name))


def preprocessing_of(config: Any) -> Preprocessing:
    """What a configuration of timm (PretrainedCfg) says: size, crop, interpolation, mean and std."""
    size = int(config.input_size[-1])
    return Preprocessing(
        size_px=size,
        resize_px=max(size, round(size / config.crop_pct)),
        fit=_FITS.get(config.crop_mode, "crop"),
        interpolation=config.interpolation if config.interpolation in _INTERPOLATIONS else "bicubic",
        mean=tuple(config.mean[:3]),
        std=tuple(config.std[:3]),
        mirror=False,
    )


def _config(name: str) -> Any:
    config = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    if config is None:
        similar = _similar(name.split(".")[0])
        allowed = f"names are those of timm.list_models(), or {import_path.FORM}"
        hint = f"for example {', '.join(similar)}" if similar else allowed
        raise LookalikeError(f"there is no backbone {name!r}", hint=hint)
    return config


def _similar(name: str) -> list[str]:
    """At most three of timm's names that hold this one or are written nearly alike; those that begin alike first."""
    known = timm.list_models()
    found = {*(each for each in known if name in each), *difflib.get_close_matches(name, known, 12)}

    def distance(each: str) -> tuple[int, float, str]:
        alike = difflib.SequenceMatcher(None, name, each).ratio()
        begins_alike = next(
            (n for n, (a, b) in enumerate(zip(name, each, strict=False)) if a != b), min(len(name), len(each))
        )
        return -begins_alike, -alike, each

    return sorted(found, key=distance)[:3]


def create(name: str, size_px: int, *, any_size: bool = False, own_code: bool = False) -> nn.Module:
    """A backbone with random weights: normalised float [n, 3, size_px, size_px] to pooled features [n, feature_dim].

    Args:
        name: of timm.
        size_px: side of the images; those of a vision transformer must be a multiple of its patches.
        any_size: it also takes images of other sizes, if it can: position embeddings are resampled as they come.
        own_code: the name may be an import path: the person who trains gave it.

    Raises:
        LookalikeError: timm knows no such backbone, or it cannot be built for this size.
    """
    if is_import_path(name):
        if not own_code:
            raise LookalikeError(f"backbone {name} is code, which only training runs")
        made = import_path.make(import_path.load(name, "backbone"), f"backbone {name}", size_px=size_px)
        if not isinstance(made, nn.Module):
            raise LookalikeError(f"backbone {name} must be a torch.nn.Module, got {type(made).__name__}")
        return made
    config = _config(name)
    usual_px = int(config.input_size[-1])
    if not config.fixed_input_size or (size_px == usual_px and not any_size):
        return timm.create_model(name, pretrained=False, num_classes=0)
    choices: list[dict[str, Any]] = [{"img_size": size_px}, {}] if size_px == usual_px else [{"img_size": size_px}]
    if any_size:
        choices.insert(0, {"img_size": size_px, "dynamic_img_size": True})
    reason: Exception | None = None
    for options in choices:
        try:
            return timm.create_model(name, pretrained=False, num_classes=0, **options)
        except (TypeError, *_WRONG_SIZE) as error:  # TypeError: a network without this option
            reason = error
    raise LookalikeError(
        f"{name} takes images of {usual_px} px alone, got {size_px}", hint=f"set its sizes to {usual_px}"
    ) from reason


@functools.cache
def patch_px(name: str) -> int:
    """What the side of a backbone's images must be a multiple of: the side of a vision transformer's patches, else 1.

    Raises:
        LookalikeError: timm knows no such backbone.
    """
    if is_import_path(name) or not _config(name).fixed_input_size:
        return 1
    with torch.device("meta"):
        backbone = timm.create_model(name, pretrained=False, num_classes=0)
    side: Any = getattr(getattr(backbone, "patch_embed", None), "patch_size", 1)
    return int(side[0] if isinstance(side, tuple) else side)


def fitting_px(name: str, size_px: int) -> int:
    """The multiple of a backbone's patches that is nearest to a size, and at least one patch."""
    patch = patch_px(name)
    return max(1, round(size_px / patch)) * patch


def takes(backbone: nn.Module, size_px: int) -> bool:
    """Whether a backbone takes images of this size."""
    some = next(backbone.parameters())
    was_training = backbone.training
    try:
        with torch.no_grad():
            backbone.eval()(torch.zeros(1, 3, size_px, size_px, dtype=some.dtype, device=some.device))
    except _WRONG_SIZE:
        return False
    finally:
        backbone.train(was_training)
    return True


def load_weights(backbone: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    """Fills a backbone; what is left over in `state`, a classifier say, is not used.

    Weights under the names of those who trained them (CLIP, open_clip, DINOv2 and others that timm knows), and those of
    another size of image, are converted by timm.

    Raises:
        LookalikeError: a tensor is missing or has another shape.
    """
    expected = backbone.state_dict()
    if not _fit(expected, state):
        state = _converted(backbone, state, name)
    fitting = {key: state[key] for key in expected if key in state}
    absent = [key for key in expected if key not in state and not key.endswith("num_batches_tracked")]
    if absent:
        raise LookalikeError(f"the weights lack {absent[0]} and {len(absent) - 1} more of {name}")
    try:
        backbone.load_state_dict(fitting, strict=False)
    except RuntimeError as error:
        raise LookalikeError(f"the weights do not fit {name}: {str(error).splitlines()[-1].strip()}") from error


def _fit(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> bool:
    names = [key for key in expected if not key.endswith("num_batches_tracked")]
    return all(key in state and state[key].shape == expected[key].shape for key in names)


def _converted(backbone: nn.Module, state: Mapping[str, Tensor], name: str) -> Mapping[str, Tensor]:
    """The weights as timm names and sizes them, where it knows how."""
    module = sys.modules[type(backbone).__module__]
    convert: Callable[..., Mapping[str, Tensor]] | None = getattr(module, "checkpoint_filter_fn", None)
    if convert is None:
        return state
    try:
        return convert(dict(state), backbone)
    except (AttributeError, LookupError, TypeError, *_WRONG_SIZE) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise LookalikeError(f"the weights do not fit {name}: {reason}") from error


def feature_dim(backbone: nn.Module, size_px: int) -> int:
    """Length of a backbone's pooled features.

    Raises:
        LookalikeError: it gives something else than one row per image.
    """
    facts: Any = backbone
    known = getattr(facts, "head_hidden_size", None) or getattr(facts, "num_features", None)
    if known:
        return int(known)
    was_training = backbone.training
    with torch.no_grad():
        features: Any = backbone.eval()(torch.zeros(2, 3, size_px, size_px))
    backbone.train(was_training)
    if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != 2:
        raise LookalikeError("a backbone must give one row of pooled features per image, float [n, d]")
    return features.shape[1]
