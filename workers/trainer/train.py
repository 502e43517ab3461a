"""One training from a request to a registered model: read, train on this machine or on Ray, register."""

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ml.data.datasets import Dataset
from ml.data.notes import notes_on
from ml.errors import LookalikeError
from ml.evaluation.evaluate import evaluate
from ml.model import weights
from ml.model.bundle import Bundle
from ml.model.registry import Registry
from ml.model.verdict import held_out_classes, is_no_better
from ml.training import probe, recipes, runs, tracking
from ml.training import train as training
from ml.training.config import TrainConfig, preset_config
from ml.training.finetune import EpochReport
from ml.training.process_group import check_cards, check_gpus_here
from ml.training.train import TrainResult
from ml.tuning.gallery_head import CONFIRMED, SAMPLE
from workers.messages import TrainRequest
from workers.settings import Settings
from workers.trainer import data, gallery_tuning
from workers.trainer.report import Report


@dataclasses.dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes:
        model: its name in the registry.
        metrics: of held-out classes and of the test images, by their names in `lookalike train --json`.
        threshold: cosine from which two images match; None when the data did not suffice to find one.
        held_out_classes: how many classes were never trained on.
        holdout: what the held-out figures are of: `split` (classes, images, val or none), `why`, and how many `images`.
        seconds: of training.
        remarks: what a person should know about the data.
        tuning: whether held-out classes gained by a head fitted to photos without labels, and by how much; and of what
            it was fitted to at the end, if it was: `photos`, `views`, `pairs`, `neighbours`.
        is_worse: whether it does worse on what was held out than the network did before training.
        is_active: whether it answers searches already, as the same model from an earlier run does.
        paper: of a recipe, the figures that its paper reports, in per cent.
    """

    model: str
    metrics: dict[str, float]
    threshold: float | None
    held_out_classes: int
    seconds: float
    remarks: list[str]
    paper: dict[str, float] = dataclasses.field(default_factory=dict)
    holdout: dict[str, Any] = dataclasses.field(default_factory=dict)
    tuning: dict[str, Any] = dataclasses.field(default_factory=dict)
    is_worse: bool = False
    is_active: bool = False


def train(request: TrainRequest, settings: Settings, report: Report) -> Trained:
    """Trains a model and registers it.

    Raises:
        LookalikeError: the request, the data or the run is at fault; the message says how.
        KeyboardInterrupt: it was interrupted. The epochs that had ended are kept, and `resume` goes on after them.
    """
    check_gpus(request.gpus, settings)  # before the photos are read: what is refused is refused at once
    _processes(request)
    tracking.check(request.track)
    recipe, splits = None, None
    if request.recipe is not None:
        recipe = recipes.named(request.recipe)
        config = recipe.config.changed(request.config)
        splits = recipe.read(Path(request.data).expanduser())
        images, test = splits.train, None  # measured below, by the paper's protocol
    else:
        config = requested_config(request.preset, request.config)
        if config.backbone.partition(":")[0] != probe.AUTO:
            weights.check_name(config.backbone)
        images = data.read(request.data, settings, on_progress=report.progress)
        test = data.read_test(request.test, request.data, settings, on_progress=report.progress)
    notes = notes_on(images, test)
    for note in notes:
        report.say(f"note: {note}")
    if request.strict and notes:
        raise LookalikeError(f"there are {len(notes)} notes on the data", hint="mend the data, or leave out --strict")
    if config.backbone.partition(":")[0] == probe.AUTO:
        config = _with_best_backbone(config, images, settings, request, report)
    if request.resume and (difference := runs.difference(config, images, settings.home / "runs")):
        report.say(difference)
    last: EpochReport | None = None

    def on_epoch(epoch: EpochReport) -> None:
        nonlocal last
        if last is None and epoch.epoch > 1:
            report.say(f"went on after epoch {epoch.epoch - 1}")
        last = epoch
        report.say(_line(epoch))
        report.epoch(epoch)

    try:
        result = _run(request, config, images, test, settings, report, on_epoch)
    except KeyboardInterrupt:
        if last is not None:
            kept = f"{last.epoch} of {last.epochs} epochs are kept"
            report.say(f"{kept}: the same command with --resume goes on after them")
        raise
    for remark in result.remarks:
        if remark not in notes:
            report.say(f"note: {remark}")
    metrics = dict(result.metrics)
    if recipe is not None and splits is not None:
        device = _device(request, settings)
        metrics |= recipes.measure(
            result.bundle.directory, splits, ks=recipe.ks, device=device, on_progress=report.progress
        )
    with tempfile.TemporaryDirectory(dir=settings.home) as folder:
        bundle = _tuned(result.bundle, Path(folder) / "tuned", request, settings, report)
        if bundle is not result.bundle and test is not None:
            metrics |= _measured_again(bundle, test, metrics, request, settings, report)
        name = register(bundle, settings, report)
    told = ("photos", "views", "pairs", "neighbours")
    fitted = {key: value for key, value in (bundle.lineage.get("tuning") or {}).items() if key in told}
    return Trained(
        model=name,
        metrics=metrics,
        threshold=bundle.threshold,
        held_out_classes=held_out_classes(result.bundle.lineage),
        seconds=round(result.seconds, 1),
        remarks=list(result.remarks),
        paper=dict(recipe.published) if recipe is not None else {},
        holdout=dict(result.bundle.lineage.get("holdout") or {}),
        tuning=dict(bundle.lineage.get(CONFIRMED) or {}) | fitted,
        is_worse=is_no_better(metrics),
        is_active=is_active(name, settings),
    )


def register(bundle: Bundle, settings: Settings, report: Report) -> str:
    """Registers a model, and says where one of that name or of these weights was there before. Returns its name."""
    report.step("registering the model")
    registry = Registry(settings.models_url)
    before = {record.name for record in registry.models()}
    name = registry.register(bundle.directory, cache_dir=settings.compiled)
    if name in before:
        answers = ", and answers searches" if is_active(name, settings) else ""
        report.say(f"note: {name} was registered before with the very same weights: it stays as it is{answers}")
    elif name != bundle.name:
        report.say(f"note: an earlier model is called {bundle.name}, and stays as it is: the new one is {name}")
    report.registered(name)
    return name


def is_active(model: str, settings: Settings) -> bool:
    """Whether a registered model answers searches."""
    active = Registry(settings.models_url).active()
    return active is not None and active.model == model


def _tuned(bundle: Bundle, directory: Path, request: TrainRequest, settings: Settings, report: Report) -> Bundle:
    """The model with its head fitted to the gallery's own photos, where that was confirmed; else the model as it is."""
    if CONFIRMED not in bundle.lineage:
        return bundle
    photos = data.unlabelled(settings, SAMPLE, on_progress=report.progress)
    tuned = gallery_tuning.tuned_to(
        bundle,
        photos,
        directory,
        device=_device(request, settings),
        cache_dir=settings.compiled,
        on_progress=report.progress,
        say=report.say,
    )
    return bundle if tuned is None else tuned


def _measured_again(
    bundle: Bundle,
    test: Dataset,
    before: dict[str, Any],
    request: TrainRequest,
    settings: Settings,
    report: Report,
) -> dict[str, Any]:
    """Figures of the test images by the model with its head fitted to the gallery; those before it stay beside them."""
    device = _device(request, settings)
    measured = evaluate(bundle.directory, test, device=device, cache_dir=settings.compiled, on_progress=report.progress)
    metrics = dict(measured.metrics)
    metrics |= {f"{name}_before_tuning": before[name] for name in ("map@r", "recall@1") if name in before}
    metrics["transductive"] = measured.tuned_to
    metrics["intervals"] = dict(before.get("intervals") or {}) | metrics["intervals"]
    return metrics


def _with_best_backbone(
    config: TrainConfig, images: Dataset, settings: Settings, request: TrainRequest, report: Report
) -> TrainConfig:
    """Probes what is at hand, or the backbones that `auto:A,B` names, and says what each reached."""
    named = [name.strip() for name in config.backbone.partition(":")[2].split(",") if name.strip()]
    candidates = named or probe.at_hand()
    report.step(f"probing {len(candidates)} backbone{'' if len(candidates) == 1 else 's'} on held-out classes")
    device = _device(request, settings)
    with tempfile.TemporaryDirectory() as folder:
        found = probe.probe(images, candidates, config, Path(folder), device=device)
    width = max(len(one.backbone) for one in found)
    for one in found:
        figure = f"mAP@R {100 * one.map_at_r:5.1f}" if not one.reason else one.reason
        report.say(f"  {one.backbone:{width}}  {figure}  {one.seconds:.0f} s")
    report.say(f"backbone: {found[0].backbone}")
    return config.changed({"backbone": found[0].backbone})


def requested_config(preset: str, changes: dict[str, Any]) -> TrainConfig:
    """A preset's configuration with changes. Raises LookalikeError for a name or a value that makes no sense."""
    return preset_config(preset).changed(changes)


def check_gpus(gpus: int | None, settings: Settings) -> None:
    """Refuses more GPUs than this machine has; where a cluster trains, Ray says later what that one has.

    Raises:
        LookalikeError: there are fewer.
    """
    if settings.ray_address in ("", "local"):  # local: Ray on this machine
        check_gpus_here(gpus)


def _processes(request: TrainRequest) -> int:
    """How many processes train: one for each GPU that is asked for. Raises LookalikeError where that is not so."""
    workers = request.workers if request.workers > 1 else max(1, request.gpus or 0)
    check_cards(workers, request.gpus)
    return workers


def _run(
    request: TrainRequest,
    config: TrainConfig,
    images: Dataset,
    test: Dataset | None,
    settings: Settings,
    report: Report,
    on_epoch: Callable[[EpochReport], None],
) -> TrainResult:
    """In this process, or on Ray where more than one process or a cluster is asked for."""
    runs = settings.home / "runs"
    workers = _processes(request)
    if workers > 1 or settings.ray_address:
        from ml.ray_cluster.data_parallel import train_distributed  # imports Ray

        return train_distributed(
            config,
            images,
            runs,
            test=test,
            workers=workers,
            gpus=request.gpus,
            storage=f"{settings.storage_url}/training",
            resume=request.resume,
            track=request.track,
            on_progress=report.progress,
            on_epoch=on_epoch,
        )
    result = training.train(
        config,
        images,
        runs,
        test=test,
        resume=request.resume,
        # A GPU that is asked for goes before LOOKALIKE_DEVICE=cpu: nobody waits for hours for what a minute takes.
        device="cuda" if request.gpus and settings.device == "cpu" else _device(request, settings),
        track=request.track,
        on_progress=report.progress,
        on_epoch=on_epoch,
    )
    assert result is not None  # only further processes get None
    return result


def _device(request: TrainRequest, settings: Settings) -> str:
    """Where this process computes: as the setting says, unless the request wants no GPU."""
    return "cpu" if request.gpus == 0 else settings.device


def _line(epoch: EpochReport) -> str:
    has_held_out = epoch.map_at_r == epoch.map_at_r
    held_out = f"  held-out mAP@R {100 * epoch.map_at_r:5.1f}" if has_held_out else ""
    minutes, seconds = divmod(round(epoch.seconds_left), 60)
    return (
        f"epoch {epoch.epoch:2d} of {epoch.epochs}  loss {epoch.loss:.3f}{held_out}"
        f"  {epoch.images_per_s:.0f} images/s  {minutes}:{seconds:02d} left"
    )
