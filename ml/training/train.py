"""One training run: labelled images in, a model bundle out.

`train` is a plain function of a typed config that only reports through callbacks: the command line, Ray and the tests
call the same one. Two presets: `fast` fits a linear head in closed form on features of the untouched network,
`accurate` fine-tunes the whole network with NormSoftmax and fits the same head on top. Classes held out of the training
data give progress, early stopping and the threshold of a match; the test set is only ever measured.
"""

import dataclasses
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ml.data import datasets
from ml.data.augment import Augmentation
from ml.data.datasets import Dataset, Progress
from ml.errors import LookalikeError
from ml.evaluation.evaluate import Evaluation, evaluate
from ml.model import bundle
from ml.model.bundle import Bundle
from ml.model.network import DEFAULT_BACKBONE
from ml.training import checkpoints, fit, lineage, losses
from ml.training.checkpoints import TrainingFailed
from ml.training.features import Cache
from ml.training.finetune import EpochReport, Peers, entry, report_of

log = logging.getLogger(__name__)

__all__ = ["PRESETS", "EpochReport", "TrainConfig", "TrainResult", "TrainingFailed", "train"]


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides what a run computes, apart from the data. `--help` and sweeps read the fields.

    Args:
        preset: fast or accurate; `preset_config` gives each one's settings.
        backbone: efficientnet_lite0, a name of timm, NAME@FILE, or the folder of a bundle to go on from.
        loss: one of `ml.training.losses.NAMES`.
        dim: length of the vectors.
        head: closed_form (whitening within classes, fitted after training), linear (trained with the network) or none.
        epochs: passes over the images; 0 leaves the network as it is.
        head_epochs: of these, the first that train head and loss alone.
        train_px: side of the images in training.
        test_px: side of the images that the finished model takes; larger than train_px does better (FixRes).
        margin: share of width and height that the finished model cuts off around the middle.
        mirror: the finished model averages each image with its mirror image.
        lr: highest learning rate of the network.
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
        holdout: share of the classes held out for progress, early stopping and the threshold.
        patience: epochs without a better mAP@R of held-out classes before stopping; 0 never stops.
        seed: of everything random.
        augmentation: how images vary in training.
    """

    preset: str = "accurate"
    backbone: str = DEFAULT_BACKBONE
    loss: str = "normsoftmax"
    dim: int = 512
    head: str = "closed_form"
    epochs: int = 20
    head_epochs: int = 0
    train_px: int = 128
    test_px: int = 224
    margin: float = 0.0
    mirror: bool = True
    lr: float = 1e-4
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
    patience: int = 0
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        checks = {
            "preset": self.preset in PRESETS,
            "loss": self.loss in losses.NAMES,
            "head": self.head in ("closed_form", "linear", "none"),
            "dim": self.dim >= 1,
            "epochs": self.epochs >= 0,
            "train_px": 32 <= self.train_px <= 1024,
            "test_px": 32 <= self.test_px <= 1024,
            "lr": self.lr > 0,
            "loss_lr": self.loss_lr > 0,
            "temperature": self.temperature > 0,
            "classes_per_batch": self.classes_per_batch >= 2,
            "images_per_class": self.images_per_class >= 0,
            "keep_pretrained": 0 <= self.keep_pretrained < 1,
            "shrinkage": self.shrinkage > 0,
            "holdout": 0 <= self.holdout < 1,
            "warmup": 0 <= self.warmup <= 1,
            "margin": 0 <= self.margin < 0.9,
        }
        for name, is_good in checks.items():
            if not is_good:
                raise LookalikeError(f"{name} is {getattr(self, name)!r}", hint=_HINTS.get(name, "see --help"))

    def to_json(self) -> dict[str, Any]:
        """A dict of plain JSON types."""
        return dataclasses.asdict(self)


_HINTS = {"loss": f"use one of {', '.join(losses.NAMES)}", "preset": "use fast or accurate"}

# What each preset changes; benchmarks/training.py measures both, docs/how-to/train-a-model.md says when to use which.
PRESETS: dict[str, dict[str, Any]] = {
    "accurate": {},
    "fast": {"epochs": 0, "margin": 0.125},
}


def preset_config(preset: str, **changes: Any) -> TrainConfig:
    """The settings of a preset, with changes.

    Raises:
        LookalikeError: there is no such preset, or a value makes no sense.
    """
    if preset not in PRESETS:
        raise LookalikeError(f"there is no preset {preset!r}", hint=_HINTS["preset"])
    return TrainConfig(**({"preset": preset} | PRESETS[preset] | changes))


@dataclass(frozen=True)
class TrainResult:
    """A finished run.

    Args:
        bundle: the model.
        metrics: of held-out classes (`held_out_…`) and of the test set.
        history: one report an epoch.
        seconds: of the whole run, reading the images included.
        remarks: what a person should know about the data, one line each.
        run_dir: folder of the run: config, history, TensorBoard logs, checkpoints while it runs, model.
    """

    bundle: Bundle
    metrics: dict[str, Any]
    history: list[EpochReport]
    seconds: float
    remarks: list[str]
    run_dir: Path


@dataclass(frozen=True)
class Run:
    """Where a run of this config on this data lives. The same command finds the same run again."""

    name: str
    directory: Path

    @classmethod
    def of(cls, config: TrainConfig, data: Dataset, runs_dir: Path) -> "Run":
        facts = json.dumps([config.to_json(), data.fingerprint], sort_keys=True)
        key = hashlib.sha256(facts.encode()).hexdigest()[:8]
        name = f"{_slug(data.name)}-{config.preset}-{key}"
        return cls(name, runs_dir / name)


def train(
    config: TrainConfig,
    data: Dataset,
    runs_dir: Path,
    *,
    test: Dataset | None = None,
    resume: bool = False,
    cache: Cache | None = None,
    peers: Peers | None = None,
    device: str = "auto",
    on_progress: Progress | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> TrainResult | None:
    """Trains and saves a model.

    Args:
        config: what to do.
        data: labelled images.
        runs_dir: the run gets a folder in it, named after data and settings.
        test: images of other classes, measured once at the end; nothing is chosen by them.
        resume: go on after the last checkpoint of this very run; a finished run is given back as it is.
        cache: decoded images that runs share.
        peers: processes that train together; all but the first get None back.
        device: auto, cuda or cpu.
        on_progress: told what is being done and how far it is.
        on_epoch: told of every finished epoch.

    Raises:
        BadDataset: the data cannot be trained or measured on.
        TrainingFailed: the run cannot go on; its last good checkpoint is kept.
        LookalikeError: backbone or device are not there.
    """
    began = time.monotonic()
    datasets.check_trainable(data)
    remarks = datasets.remarks(data)
    copies = datasets.same_files(test, data) if test else []
    if copies:
        remarks.append(f"{len(copies)} test images are in the training data too, for example {copies[0][0].name}")
    run = Run.of(config, data, runs_dir)
    model_dir = run.directory / "model"
    finished = _finished(model_dir, test) if resume else None
    if finished is not None:
        reports = [report_of(item) for item in checkpoints.read_history(run.directory)]
        return TrainResult(finished, finished.metrics, reports, time.monotonic() - began, remarks, run.directory)
    if not resume and (peers is None or peers.rank == 0):
        shutil.rmtree(run.directory, ignore_errors=True)
    _write_config(run.directory, config, data)
    fitted = fit.fit(
        config,
        data,
        run.directory,
        resume=checkpoints.latest(run.directory / "checkpoints") if resume else None,
        cache=cache or Cache(),
        peers=peers,
        device=fit.device_of(device),
        on_progress=on_progress,
        on_epoch=on_epoch,
    )
    if peers is not None and peers.rank != 0:
        return None
    metrics = dict(fitted.metrics)
    facts = lineage.of(config.to_json(), data) | fitted.lineage
    facts |= {"history": [entry(report) for report in fitted.history], "seconds": round(time.monotonic() - began, 1)}
    saved = _save(fitted, model_dir, run.name, metrics, facts)
    if test is not None:
        measured = evaluate(model_dir, test, device=device, on_progress=on_progress)
        metrics |= measured.metrics
        remarks += _near_copies(measured, fitted, {path for path, _ in copies})
        facts |= {"test": {"name": test.name, "fingerprint": test.fingerprint}}
        saved = _save(fitted, model_dir, run.name, metrics, facts)
    checkpoints.write_history(run.directory, [entry(report) for report in fitted.history])
    checkpoints.clear(run.directory / "checkpoints")
    checkpoints.clear(run.directory / "best")
    return TrainResult(saved, metrics, fitted.history, time.monotonic() - began, remarks, run.directory)


def _finished(model_dir: Path, test: Dataset | None) -> Bundle | None:
    """The model of a run that was ended before; None where there is none, or the test set was not measured."""
    if not (model_dir / bundle.MODEL_JSON).exists():
        return None
    found = Bundle.load(model_dir)
    measured = found.lineage.get("test", {}).get("fingerprint")
    return found if test is None or measured == test.fingerprint else None


def _near_copies(measured: Evaluation, fitted: "fit.Fitted", known: set[Path]) -> list[str]:
    """A remark on test images that look like copies of training images, apart from those known to be."""
    if fitted.vectors is None:
        return []
    pairs = datasets.near_duplicates(measured.embeddings.numpy(), fitted.vectors)
    paths = [(measured.dataset.paths[test], fitted.paths[trained]) for test, trained in pairs]
    found = [(test, trained) for test, trained in paths if test not in known]
    if not found:
        return []
    test, trained = found[0]
    return [f"{len(found)} test images look like copies of training images, for example {test.name} and {trained.name}"]


def _save(fitted: "fit.Fitted", directory: Path, name: str, metrics: dict[str, Any], facts: dict[str, Any]) -> Bundle:
    try:
        return bundle.save(
            fitted.model, directory, name=name, metrics=metrics, lineage=facts, threshold=fitted.threshold
        )
    except Exception as error:  # safetensors has its own family for a full disk
        if isinstance(error, LookalikeError):
            raise
        reason = "the disk is full" if "No space left" in str(error) else str(error)
        raise TrainingFailed(f"the model cannot be saved: {reason}", hint="free some space, then --resume") from error


def _write_config(directory: Path, config: TrainConfig, data: Dataset) -> None:
    facts = {"config": config.to_json(), "data": {"name": data.name, "fingerprint": data.fingerprint}}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "config.json").write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
    except OSError as error:
        raise TrainingFailed(f"{directory} cannot be written: {error.strerror}", hint="free some space") from error


def _slug(name: str) -> str:
    """A data set's name as part of a model's name: letters, digits and dashes."""
    kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower())
    return "-".join(part for part in kept.split("-") if part)[:40] or "data"
