"""Everything that decides what a training run computes, and the two presets."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ml.data.augment import NONE, Augmentation
from ml.data.holdout import SPLITS
from ml.errors import LookalikeError
from ml.import_path import FORM, is_import_path
from ml.model.backbone import DEFAULT_BACKBONE
from ml.training import losses

HEADS = ("closed_form", "linear", "none")
OWN = "own"
FITS = ("squash", "crop", "pad", OWN)


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides what a run computes, apart from the data. `--help` and sweeps read the fields.

    Args:
        preset: fast or accurate; `preset_config` gives each one's settings.
        backbone: efficientnet_lite0, a name of timm, NAME@FILE, NAME@random, hf-hub:OWNER/NAME, or the folder of a
            bundle to go on from.
        loss: one of `ml.training.losses.NAMES`, a class of pytorch_metric_learning.losses, or an import path.
        miner: of pairs or triplets for the loss: own for the one that comes with it, none, a class of
            pytorch_metric_learning.miners, or an import path.
        dim: length of the vectors.
        head: closed_form (whitening within classes, fitted after training), linear (trained with the network) or none.
        epochs: passes over the images; 0 leaves the network as it is.
        head_epochs: of these, the first that train head and loss alone.
        train_px: side of the images in training.
        test_px: side of the images that the finished model takes; larger than train_px does better (FixRes). Vision
            transformers take the nearest multiple of their patches, as in training.
        fit: how the finished model fits an image to its square: squash, crop, pad, or own for what the backbone was
            trained with, its share of the middle included.
        margin: share of width and height that the finished model cuts off around the middle.
        mirror: the finished model averages each image with its mirror image.
        lr: highest learning rate of the network.
        layer_decay: factor of the learning rate from each layer to the one before it, as vision transformers like it
            (0.65 to 0.9); 1 trains all alike.
        frozen_layers: of the network, the first that keep their weights; the stem or patch embedding is the first.
        loss_lr: highest learning rate of class weights and a linear head.
        weight_decay: of the network.
        warmup: share of the steps in which the rates rise.
        temperature: of NormSoftmax.
        classes_per_batch: different classes in a batch.
        images_per_class: of each; 0 draws images regardless of class.
        clip_norm: largest norm of the gradient.
        keep_pretrained: share of the pretrained weights in the finished ones (WiSE-FT).
        init_from_means: begin with class means of the pretrained embeddings as class weights.
        shrinkage: of the closed form's covariance.
        holdout: share of the classes, or of each class's images, held out for progress, early stopping and the
            threshold.
        split: classes or images are held out; auto chooses images where there are few classes (`ml.data.holdout`).
        patience: epochs without a better mAP@R of held-out classes before stopping; 0 never stops.
        seed: of everything random, the choice of held-out classes included: consecutive seeds hold out different ones.
        tune: try on held-out classes whether the head gains from a gallery's own photos, without labels; where it does,
            `lookalike train` ends with fitting it to the gallery, and the model says so (ml.training.tuning_trial).
        augmentation: how images vary in training.
        augmentation_class: import path of code that varies them instead; empty for none. It is called as
            `ml.data.augment.Augmentation` is.
    """

    preset: str = "accurate"
    backbone: str = DEFAULT_BACKBONE
    loss: str = "normsoftmax"
    miner: str = losses.OWN_MINER
    dim: int = 512
    head: str = "closed_form"
    epochs: int = 20
    head_epochs: int = 0
    train_px: int = 128
    test_px: int = 224
    fit: str = "squash"
    margin: float = 0.0
    mirror: bool = True
    lr: float = 1e-4
    layer_decay: float = 1.0
    frozen_layers: int = 0
    loss_lr: float = 1e-2
    weight_decay: float = 1e-2
    warmup: float = 0.25
    temperature: float = losses.TEMPERATURE
    classes_per_batch: int = 8
    images_per_class: int = 4
    clip_norm: float = 5.0
    keep_pretrained: float = 0.0
    init_from_means: bool = True
    shrinkage: float = 1.0
    holdout: float = 0.1
    split: str = "auto"
    patience: int = 0
    seed: int = 0
    tune: bool = False
    augmentation: Augmentation = field(default_factory=Augmentation)
    augmentation_class: str = ""

    def __post_init__(self) -> None:
        checks = {
            "preset": (self.preset in PRESETS, f"be one of {', '.join(PRESETS)}"),
            "head": (self.head in HEADS, f"be one of {', '.join(HEADS)}"),
            "dim": (self.dim >= 1, "be >= 1"),
            "epochs": (self.epochs >= 0, "be >= 0"),
            "head_epochs": (self.head_epochs >= 0, "be >= 0"),
            "train_px": (32 <= self.train_px <= 1024, "be in 32..1024"),
            "test_px": (32 <= self.test_px <= 1024, "be in 32..1024"),
            "fit": (self.fit in FITS, f"be one of {', '.join(FITS)}"),
            "margin": (0 <= self.margin < 0.9, "be >= 0 and < 0.9"),
            "lr": (self.lr > 0, "be > 0"),
            "layer_decay": (0 < self.layer_decay <= 1, "be > 0 and <= 1"),
            "frozen_layers": (self.frozen_layers >= 0, "be >= 0"),
            "loss_lr": (self.loss_lr > 0, "be > 0"),
            "weight_decay": (self.weight_decay >= 0, "be >= 0"),
            "warmup": (0 <= self.warmup <= 1, "be in 0..1"),
            "temperature": (self.temperature > 0, "be > 0"),
            "classes_per_batch": (self.classes_per_batch >= 2, "be >= 2"),
            "images_per_class": (self.images_per_class >= 0, "be >= 0"),
            "clip_norm": (self.clip_norm > 0, "be > 0"),
            "keep_pretrained": (0 <= self.keep_pretrained < 1, "be >= 0 and < 1"),
            "shrinkage": (self.shrinkage > 0, "be > 0"),
            "holdout": (0 <= self.holdout < 1, "be >= 0 and < 1"),
            "split": (self.split in SPLITS, f"be one of {', '.join(SPLITS)}"),
            "patience": (self.patience >= 0, "be >= 0"),
            "augmentation_class": (
                not self.augmentation_class or is_import_path(self.augmentation_class),
                f"be {FORM} or empty",
            ),
        }
        for name, (is_good, rule) in checks.items():
            if not is_good:
                usual = PRESETS.get(self.preset, {}).get(name, getattr(TrainConfig, name))
                raise LookalikeError(
                    f"{name} must {rule}, got {getattr(self, name)!r}",
                    hint=f"it is {'empty' if usual == '' else usual} unless it is given",
                )
        losses.check(self.loss, self.miner)

    def to_json(self) -> dict[str, Any]:
        """A dict of plain JSON types."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "TrainConfig":
        """The inverse of `to_json`. Raises LookalikeError or TypeError when it is none."""
        return cls(**{**data, "augmentation": Augmentation(**data["augmentation"])})

    def changed(self, changes: Mapping[str, Any]) -> "TrainConfig":
        """With other values.

        Args:
            changes: by name; one number of the augmentation as `augmentation.rotation`, and `augmentation` as a whole
                as default, none or an import path.

        Raises:
            LookalikeError: there is no such setting, or a value makes no sense.
        """
        own = dict(changes)
        whole = own.pop("augmentation", None)
        if isinstance(whole, str):
            own |= _augmentation(whole)
        elif whole is not None:
            own["augmentation"] = whole if isinstance(whole, Augmentation) else Augmentation(**whole)
        numbers = {name.removeprefix(_NUMBER): own.pop(name) for name in list(own) if name.startswith(_NUMBER)}
        unknown = [*(own.keys() - _names(TrainConfig)), *(_NUMBER + n for n in numbers.keys() - _names(Augmentation))]
        if unknown:
            known = sorted(_names(TrainConfig) | {_NUMBER + name for name in _names(Augmentation)})
            raise LookalikeError(f"there is no hyper-parameter {min(unknown)!r}", hint=f"there are {', '.join(known)}")
        config = dataclasses.replace(self, **own)
        return dataclasses.replace(config, augmentation=dataclasses.replace(config.augmentation, **numbers))


_NUMBER = "augmentation."


def _names(kind: type) -> set[str]:
    return {entry.name for entry in dataclasses.fields(kind)}


def _augmentation(text: str) -> dict[str, Any]:
    if is_import_path(text):
        return {"augmentation_class": text}
    if text not in _AUGMENTATIONS:
        allowed = ", ".join(_AUGMENTATIONS)
        raise LookalikeError(
            f"augmentation must be one of {allowed} or {FORM}, got {text!r}",
            hint="its numbers are settings: --set augmentation.rotation=45",
        )
    return {"augmentation": _AUGMENTATIONS[text], "augmentation_class": ""}


_AUGMENTATIONS = {"default": Augmentation(), "none": NONE}

# What each preset changes; benchmarks/training.py measures both, docs/how-to/train-a-model.md says when to use which.
PRESETS: dict[str, dict[str, Any]] = {
    "accurate": {"tune": True},
    "fast": {"epochs": 0, "margin": 0.125, "tune": True},
}


def preset_config(preset: str, **changes: Any) -> TrainConfig:
    """The settings of a preset, with changes.

    Raises:
        LookalikeError: there is no such preset, or a value makes no sense.
    """
    if preset not in PRESETS:
        raise LookalikeError(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}")
    return TrainConfig(**({"preset": preset} | PRESETS[preset] | changes))
