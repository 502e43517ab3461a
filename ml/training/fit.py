"""The steps of one run: decode, split, fine-tune, fit the head, measure on held-out classes.

`ml.training.train` decides what is kept where; here a config and a data set become a model in memory.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ml import import_path
from ml.data.augment import NONE
from ml.data.datasets import Dataset, Progress
from ml.data.decoding import Pixels
from ml.data.holdout import HeldOut, hold_out
from ml.errors import LookalikeError
from ml.evaluation.metrics import evaluate_retrieval
from ml.model import backbone as backbones
from ml.model import weights
from ml.model.network import EmbeddingModel, pretrained
from ml.preprocessing import Preprocessing
from ml.training import finetune, frozen_backbone, held_out_figures, layers, losses, tuning_trial
from ml.training.checkpoints import Checkpoint
from ml.training.closed_form_head import closed_form_head
from ml.training.config import OWN, TrainConfig
from ml.training.features import Cache, Reader, project_sides
from ml.training.finetune import EpochReport, FeatureNetwork, Vary
from ml.training.process_group import ProcessGroup
from ml.training.schedule import Schedule
from ml.training.tuning_trial import Group
from ml.tuning.gallery_head import CONFIRMED

log = logging.getLogger(__name__)

# Images are cached a quarter larger than they are trained on: crops lose little, and decoding is paid once.
CACHE_MARGIN = 1.25


@dataclass(frozen=True)
class Fitted:
    """A model in memory, what was measured on held-out classes, and the similarity of a match.

    `vectors` [n, dim] are those of the images at `paths`, all that the head was fitted on. The figures are those of a
    head that was fitted without held-out images; the model's own head was fitted on all.
    """

    model: EmbeddingModel
    metrics: dict[str, Any]
    threshold: float
    history: list[EpochReport]
    lineage: dict[str, Any] = field(default_factory=dict)
    vectors: np.ndarray | None = None
    paths: tuple[Path, ...] = ()


def device_of(name: str) -> torch.device:
    """The device that a setting means: auto, cpu, cuda or cuda:N. Raises LookalikeError when it is not there."""
    has_cuda = torch.cuda.is_available()
    if name.startswith("cuda") and not has_cuda:
        raise LookalikeError("torch finds no CUDA device", hint="use device auto or cpu")
    device = torch.device(("cuda" if has_cuda else "cpu") if name == "auto" else name)
    if has_cuda and (device.index or 0) >= (count := torch.cuda.device_count()):
        raise LookalikeError(f"device {name} is not one of the {count} here", hint="they count from cuda:0")
    return device


def check(config: TrainConfig, data: Dataset) -> None:
    """Whether what the config names can be made: loss, miner and augmentation by making them, a backbone by its name.

    Raises:
        LookalikeError: there is no such thing, or it is none.
    """
    weights.check_name(config.backbone)
    if config.epochs:
        with torch.random.fork_rng(devices=[]):  # what is drawn here must not change what training draws
            losses.make(config.loss, len(data.classes), config.dim, miner=config.miner)
        _augmentation(config)


def prepare(config: TrainConfig, data: Dataset) -> EmbeddingModel:
    """The network before training; it sees images as the finished model does.

    All that can fail before the first image is read, so that nothing is written for a run that never began.

    Raises:
        LookalikeError: as `check`, weights cannot be had or do not fit, or no layer would be left to train.
    """
    check(config, data)
    torch.manual_seed(config.seed)  # the first weights of a linear head and of some losses
    model = _untrained(config)
    layers.check(model.backbone, config.frozen_layers)
    return model


def fit(
    config: TrainConfig,
    data: Dataset,
    run_dir: Path,
    *,
    model: EmbeddingModel,
    resume: Checkpoint | None,
    cache: Cache,
    process_group: ProcessGroup | None,
    device: torch.device,
    on_progress: Progress | None,
    on_epoch: Callable[[EpochReport], None] | None,
) -> Fitted:
    """Runs a config on the network that `prepare` made for it; see `ml.training.train.train`."""
    preprocessing = model.preprocessing
    seen = cache.pixels(data, preprocessing, on_progress)
    held = hold_out(seen.dataset, config.holdout, split=config.split, seed=config.seed)
    trained, held_out = np.flatnonzero(~held.is_held), np.flatnonzero(held.is_held)
    labels = np.unique(seen.dataset.labels[trained], return_inverse=True)[1]
    log.info(
        "%d images to train on, %d held out (by %s: %s); decoded: %s",
        *(len(trained), len(held_out), held.split, held.why, seen.where),
    )
    model.to(device)
    frozen_backbone.prepare(model.backbone)
    layers.freeze(model.backbone, config.frozen_layers)
    reader = Reader(model, device, on_progress, cache, f"{config.backbone} {finetune.precision(device)[0]}")
    before = held_out_figures.untrained(reader, seen, held, is_all_read=not config.epochs)
    history: list[EpochReport] = []
    if config.epochs:
        network = FeatureNetwork(model).to(device)
        if config.head == "linear":
            weight = closed_form_head(
                reader.features(seen.array, "reading features", rows=trained), _long(labels), dim=config.dim
            )[0]
            network.projection = _linear(config.dim, model.feature_dim, weight).to(device)
        pretrained_weights = {key: value.clone() for key, value in network.state_dict().items()}
        history = _finetune(
            config,
            network,
            data,
            labels,
            (trained, held_out),
            run_dir,
            reader,
            cache,
            seen,
            resume,
            process_group,
            on_progress,
            on_epoch,
        )
        if process_group is not None and process_group.rank != 0:  # the first process fits the head and measures
            return Fitted(model, {}, 0.0, history)
        _interpolate_weights(network, pretrained_weights, config.keep_pretrained)
        model.projection = network.projection if isinstance(network.projection, nn.Linear) else None
    # Of all images, once: the head is fitted on some of them, measured on the others, and fitted on all.
    sides = [reader.features(seen.array, "reading features")]
    if config.mirror:
        sides.append(reader.features(seen.array, "reading mirror images", is_mirrored=True))
    groups, views = _tuning_groups(config, seen, held, reader)
    exported = _exported(config, model, preprocessing)
    if config.head == "closed_form":
        _fit_closed_form(config, exported, [side[trained] for side in sides], labels)
    figures = held_out_figures.measure(exported, sides, seen, held, before)
    how = {"epochs": len(history), "precision": finetune.precision(device)[1]}
    fitted = Fitted(exported, figures.metrics, figures.threshold, history, figures.facts | how)
    if config.tune:
        tried = _tuning_tried(config, exported, sides, seen.dataset.labels, groups, views)
        fitted = replace(fitted, lineage=fitted.lineage | {CONFIRMED: tried.to_json()})
    if config.head == "closed_form" and (len(held_out) or config.tune):
        _fit_closed_form(config, exported, sides, seen.dataset.labels)
    vectors = project_sides(exported, sides).numpy() if config.head == "closed_form" else None
    return replace(fitted, vectors=vectors, paths=seen.dataset.paths)


def _tuning_groups(
    config: TrainConfig, seen: Pixels, held: HeldOut, reader: Reader
) -> tuple[list[Group], list[list[Tensor]]]:
    """What is held out to see whether a gallery's photos help, and features of views of those: of each group, of both
    sides where the model looks at both."""
    if not config.tune:
        return [], []
    groups = tuning_trial.groups_of(seen.dataset.labels, held, is_head_alone=_is_head_alone(config), seed=config.seed)
    sides = (False, True) if config.mirror else (False,)
    return groups, [
        [reader.features(images, "reading views", is_mirrored=is_mirrored) for is_mirrored in sides]
        for images in tuning_trial.views_of(seen.array, groups)
    ]


def _is_head_alone(config: TrainConfig) -> bool:
    return not config.epochs and config.head == "closed_form"


def _tuning_tried(
    config: TrainConfig,
    model: EmbeddingModel,
    sides: Sequence[Tensor],
    labels: np.ndarray,
    groups: list[Group],
    views: list[list[Tensor]],
) -> tuning_trial.Tried:
    """Tries it. The model's head must have been fitted without what was held out, and may be another one afterwards."""
    views_of = {id(group): of_group for group, of_group in zip(groups, views, strict=True)}

    def embed(group: Group) -> tuple[Tensor, Tensor]:
        if _is_head_alone(config):
            others = np.setdiff1d(np.arange(len(labels)), np.concatenate([group.gallery, group.queries]))
            _fit_closed_form(config, model, [side[others] for side in sides], labels[others])
        return project_sides(model, sides), project_sides(model, views_of[id(group)])

    schemes = tuning_trial.SCHEMES if _is_head_alone(config) else tuning_trial.AFTER_FINE_TUNING
    return tuning_trial.try_schemes(labels, groups, embed, schemes=schemes)


def _untrained(config: TrainConfig) -> EmbeddingModel:
    model, own = pretrained(config.backbone, layer_norm=True, size_px=config.test_px, any_size=bool(config.epochs))
    size = own.size_px
    if size != config.test_px:
        log.info("test_px %d: %s takes multiples of its patches", size, model.backbone_name)
    preprocessing = replace(own, mirror=config.mirror)
    if config.fit != OWN:
        preprocessing = replace(preprocessing, resize_px=round(size / (1 - config.margin)), fit=config.fit)
    model.projection, model.layer_norm, model.preprocessing = None, True, preprocessing
    return model


def _train_px(config: TrainConfig, model: EmbeddingModel) -> int:
    """Side of the images in training: what is asked for, or what the backbone takes instead."""
    size = backbones.fitting_px(model.backbone_name, config.train_px)
    if not backbones.takes(model.backbone, size):
        size = model.preprocessing.size_px
    if size != config.train_px:
        log.info("train_px %d: what %s takes", size, model.backbone_name)
    return size


def _finetune(
    config: TrainConfig,
    network: FeatureNetwork,
    data: Dataset,
    labels: np.ndarray,
    positions: tuple[np.ndarray, np.ndarray],
    run_dir: Path,
    reader: Reader,
    cache: Cache,
    seen: Pixels,
    resume: Checkpoint | None,
    process_group: ProcessGroup | None,
    on_progress: Progress | None,
    on_epoch: Callable[[EpochReport], None] | None,
) -> list[EpochReport]:
    trained, held = positions
    size = _train_px(config, reader.model)
    larger = cache.pixels(data, whole(reader.model.preprocessing, round(size * CACHE_MARGIN)), on_progress)
    if len(larger.dataset) != len(seen.dataset):
        raise LookalikeError("an image changed while the run was reading it", hint="start the run again")
    classes = int(labels.max()) + 1
    means = None
    if config.init_from_means and config.loss == "normsoftmax":
        features = reader.features(larger.array, "reading features", rows=trained, vary=_plain(size))
        means = _class_means(network, features, _long(labels), classes, reader.device)
    dim = config.dim if isinstance(network.projection, nn.Linear) else reader.model.feature_dim
    loss = losses.make(
        config.loss, classes, dim, miner=config.miner, temperature=config.temperature, class_means=means
    ).to(reader.device)

    def held_out(_: nn.Module) -> tuple[float, float]:
        features = reader.features(seen.array, "held-out images", rows=held)
        with torch.no_grad():
            vectors = functional.normalize(network.projection(features.to(reader.device)).cpu(), dim=1)
        retrieval = evaluate_retrieval(vectors, _long(seen.dataset.labels[held]), ks=(1,), whole_ranking=False)
        return retrieval.map_at_r, retrieval.recall[1]

    reader.touch()
    return finetune.finetune(
        network,
        loss,
        larger.array,
        labels,
        Schedule(
            epochs=config.epochs,
            size_px=size,
            learning_rate=config.lr,
            layer_decay=config.layer_decay,
            loss_learning_rate=config.loss_lr,
            weight_decay=config.weight_decay,
            warmup=config.warmup,
            classes_per_batch=config.classes_per_batch,
            images_per_class=config.images_per_class,
            clip_norm=config.clip_norm,
            head_epochs=config.head_epochs,
            seed=config.seed,
        ),
        _augmentation(config),
        rows=trained,
        normalise=reader.normalise,
        held_out=held_out if len(held) else None,
        patience=config.patience,
        directory=run_dir / "checkpoints",
        resume=resume,
        process_group=process_group,
        on_step=(lambda step, steps: on_progress("training", step, steps)) if on_progress else None,
        on_epoch=on_epoch,
    )


def _augmentation(config: TrainConfig) -> Vary:
    """How images vary: by the config's numbers, or by code that must give what those give."""
    if not config.augmentation_class:
        return config.augmentation
    name = f"augmentation {config.augmentation_class}"
    vary = import_path.make(import_path.load(config.augmentation_class, "augmentation"), name)

    def checked(pixels: Tensor, size_px: int, draws: Tensor) -> Tensor:
        varied: Tensor = vary(pixels, size_px, draws)
        if varied.shape != (len(pixels), 3, size_px, size_px) or not varied.is_floating_point():
            raise LookalikeError(
                f"{name} must give floats of shape {(len(pixels), 3, size_px, size_px)},"
                f" got {varied.dtype} of {tuple(varied.shape)}"
            )
        return varied.contiguous(memory_format=torch.channels_last)

    return checked


def whole(preprocessing: Preprocessing, size_px: int) -> Preprocessing:
    """The whole image on a square of this size, for training to crop from."""
    return replace(preprocessing, size_px=size_px, resize_px=size_px, fit="squash", mirror=False)


def _plain(size_px: int) -> Callable[[Tensor], Tensor]:
    return lambda batch: NONE(batch, size_px, torch.zeros(len(batch), 16))


def _fit_closed_form(config: TrainConfig, model: EmbeddingModel, sides: Sequence[Tensor], labels: np.ndarray) -> None:
    """Gives the model its head, from features of images, and of their mirror images where the model uses those."""
    repeated = _long(labels).repeat(len(sides))
    features = torch.cat(list(sides))
    model.set_projection(*closed_form_head(features, repeated, dim=config.dim, shrinkage=config.shrinkage))


def _class_means(
    network: FeatureNetwork, features: Tensor, labels: Tensor, classes: int, device: torch.device
) -> Tensor:
    with torch.no_grad():
        vectors = functional.normalize(network.projection(features.to(device)).cpu(), dim=1)
    sums = torch.zeros(classes, vectors.shape[1]).index_add_(0, labels, vectors)
    return functional.normalize(sums, dim=1)


def _interpolate_weights(network: nn.Module, pretrained: dict[str, Tensor], share: float) -> None:
    """Moves the weights part of the way back to what they were (WiSE-FT, Wortsman et al., CVPR 2022)."""
    if share:
        network.load_state_dict(
            {
                key: value.lerp(pretrained[key], share) if value.is_floating_point() else value
                for key, value in network.state_dict().items()
            }
        )


def _linear(dim: int, feature_dim: int, weight: Tensor) -> nn.Linear:
    """A bias-free linear map that begins as the closed form, as far as that goes."""
    linear = nn.Linear(feature_dim, dim, bias=False)
    with torch.no_grad():
        linear.weight[: len(weight)] = weight
    return linear


def _exported(config: TrainConfig, model: EmbeddingModel, preprocessing: Preprocessing) -> EmbeddingModel:
    """The model as timm makes it, with the trained weights, on the CPU."""
    fresh = EmbeddingModel(model.backbone_name, preprocessing, layer_norm=True, own_code=True)
    model.cpu()
    frozen_backbone.export(model.backbone, fresh.backbone)
    fresh.projection = model.projection
    return fresh.eval()


def _long(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.int64))
