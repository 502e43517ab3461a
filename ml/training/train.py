"""A training run from start to end: labelled images in, a model bundle out. The steps are in `ml.training.fit`, the
loop over epochs in `ml.training.finetune`, the settings in `ml.training.config`.

`train` is a plain function of a typed config that only reports through callbacks: the command line, Ray and the tests
call the same one. Two presets: `fast` fits a linear head in closed form on features of the untouched network,
`accurate` fine-tunes the whole network with NormSoftmax and fits the same head on top. Classes held out of the training
data give progress, early stopping and the threshold of a match; the test set is only ever measured.
"""

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml.data import datasets
from ml.data.datasets import Dataset, Progress
from ml.data.notes import near_duplicates, notes_on, same_files
from ml.errors import LookalikeError
from ml.evaluation.evaluate import Evaluation, evaluate
from ml.evaluation.vectors import vectors_of
from ml.model.bundle import Bundle
from ml.model.save import save_bundle
from ml.model.upgrade import load_bundle
from ml.names import MODEL_JSON
from ml.training import checkpoints, fit, lineage, runs
from ml.training.checkpoints import TrainingFailed
from ml.training.config import TrainConfig
from ml.training.features import Cache
from ml.training.finetune import EpochReport
from ml.training.process_group import ProcessGroup
from ml.training.runs import TEST_VECTORS, Run
from ml.training.tracking import tracked, untracked

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """A finished run.

    Args:
        bundle: the model.
        metrics: of held-out classes (`held_out_…`) and of the test set.
        history: one report an epoch.
        seconds: of the whole run, reading the images included.
        remarks: what a person should know about the data, one line each.
        run_dir: folder of the run; `ml.training.runs` says what is in it.
    """

    bundle: Bundle
    metrics: dict[str, Any]
    history: list[EpochReport]
    seconds: float
    remarks: list[str]
    run_dir: Path


def train(
    config: TrainConfig,
    data: Dataset,
    runs_dir: Path,
    *,
    test: Dataset | None = None,
    resume: bool = False,
    is_held: bool = False,
    cache: Cache | None = None,
    process_group: ProcessGroup | None = None,
    device: str = "auto",
    track: str = "",
    on_progress: Progress | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> TrainResult | None:
    """Trains and saves a model.

    Args:
        config: what to do.
        data: labelled images.
        runs_dir: the run gets a folder in it, named after data and settings.
        test: images of other classes, measured once at the end; nothing is chosen by them.
        resume: go on after the last checkpoint of this very run; a finished run is given back as it is. Otherwise what
            an earlier run left, checkpoints or a model, is set aside.
        is_held: who calls sees to it that nobody else works in the run's folder: a sweep for its trials, the process
            that leads others for the first of them. Otherwise the run is held to its end (`ml.training.runs`).
        cache: decoded images that runs share.
        process_group: processes that train together; all but the first get None back.
        device: auto, cuda or cpu.
        track: wandb or mlflow, besides TensorBoard (`ml.training.tracking`); empty for neither.
        on_progress: told what is being done and how far it is.
        on_epoch: told of every finished epoch.

    Raises:
        BadDataset: the data cannot be trained or measured on.
        TrainingFailed: the run cannot go on; its last good checkpoint is kept.
        LookalikeError: backbone or device are not there, or this very run is under way elsewhere.
    """
    began = time.monotonic()
    datasets.check_trainable(data)
    remarks = notes_on(data, test)
    run = Run.of(config, data, runs_dir)
    used_device, model = fit.device_of(device), fit.prepare(config, data)  # what can fail does so before it writes
    is_first = process_group is None or process_group.rank == 0
    with contextlib.ExitStack() as to_the_end:
        if is_first and not is_held:
            to_the_end.enter_context(run.held())
        finished = _finished(run.directory / "model", test) if resume else None
        if finished is not None:
            reports = [EpochReport.from_json(item) for item in checkpoints.read_history(run.directory)]
            return TrainResult(finished, finished.metrics, reports, time.monotonic() - began, remarks, run.directory)
        notes = list(remarks)
        if not resume and is_first and (aside := run.begin_anew()):
            remarks.append(aside)
        run.write_config(config, data, notes)
        flat = runs.flat(config.to_json())
        tracking = to_the_end.enter_context(
            tracked(run.directory, run.name, flat, track, resume=resume) if is_first else untracked()
        )
        for note in notes:
            tracking.write(f"note: {note}")

        def progress(phase: str, done: int, total: int) -> None:
            tracking.progress(phase)
            if on_progress:
                on_progress(phase, done, total)

        def epoch(report: EpochReport) -> None:
            tracking.epoch(report)
            if on_epoch:
                on_epoch(report)

        fitted = fit.fit(
            config,
            data,
            run.directory,
            model=model,
            resume=checkpoints.latest(run.directory / "checkpoints") if resume else None,
            cache=cache or Cache(),
            process_group=process_group,
            device=used_device,
            on_progress=progress,
            on_epoch=epoch,
        )
        if not is_first:
            return None
        seconds = time.monotonic() - began
        saved, metrics = _measured_and_saved(fitted, config, data, test, run, notes, remarks, seconds, device, progress)
        tracking.finish(metrics)
        checkpoints.clear(run.directory / "checkpoints")
        checkpoints.clear(run.directory / "best")
    return TrainResult(saved, metrics, fitted.history, time.monotonic() - began, remarks, run.directory)


def _measured_and_saved(
    fitted: "fit.Fitted",
    config: TrainConfig,
    data: Dataset,
    test: Dataset | None,
    run: Run,
    notes: list[str],
    remarks: list[str],
    seconds: float,
    device: str,
    on_progress: Progress,
) -> tuple[Bundle, dict[str, Any]]:
    """The model on disk, its figures, and in the run's folder its history and the vectors of the test images.

    What is seen while measuring is appended to `remarks`.
    """
    model_dir = run.directory / "model"
    metrics = dict(fitted.metrics)
    facts = lineage.of(config.to_json(), data) | fitted.lineage | {"notes": notes}
    facts |= {"history": [report.to_json() for report in fitted.history], "seconds": round(seconds, 1)}
    saved = _save(fitted, model_dir, run.name, metrics, facts)
    if test is not None:
        measured = evaluate(model_dir, test, device=device, on_progress=on_progress)
        together = metrics["intervals"] | measured.metrics["intervals"]
        metrics |= measured.metrics | {"intervals": together}
        remarks += _near_copies(measured, fitted, {path for path, _ in same_files(test, data)})
        facts |= {"test": {"name": test.name, "fingerprint": test.fingerprint}}
        saved = _save(fitted, model_dir, run.name, metrics, facts)
        vectors_of(measured).save(run.directory / TEST_VECTORS)
    checkpoints.write_history(run.directory, [report.to_json() for report in fitted.history])
    return saved, metrics


def _finished(model_dir: Path, test: Dataset | None) -> Bundle | None:
    """The model of a run that was ended before; None where there is none, or the test set was not measured."""
    if not (model_dir / MODEL_JSON).exists():
        return None
    finished = load_bundle(model_dir)
    measured = finished.lineage.get("test", {}).get("fingerprint")
    return finished if test is None or measured == test.fingerprint else None


def _near_copies(measured: Evaluation, fitted: "fit.Fitted", known_copies: set[Path]) -> list[str]:
    """A remark on test images that look like copies of training images, apart from those known to be."""
    if fitted.vectors is None:
        return []
    pairs = near_duplicates(measured.embeddings.numpy(), measured.dataset.paths, fitted.vectors, fitted.paths)
    paths = [(measured.dataset.paths[test], fitted.paths[trained]) for test, trained in pairs]
    near_copies = [(test, trained) for test, trained in paths if test not in known_copies]
    if not near_copies:
        return []
    example = " and ".join(path.name for path in near_copies[0])
    return [f"{len(near_copies)} test images look like copies of training images, for example {example}"]


def _save(fitted: "fit.Fitted", directory: Path, name: str, metrics: dict[str, Any], facts: dict[str, Any]) -> Bundle:
    try:
        return save_bundle(
            fitted.model, directory, name=name, metrics=metrics, lineage=facts, threshold=fitted.threshold
        )
    except Exception as error:  # safetensors has its own family for a full disk
        if isinstance(error, LookalikeError):
            raise
        reason = "the disk is full" if "No space left" in str(error) else str(error)
        raise TrainingFailed(f"the model cannot be saved: {reason}", hint="free some space, then --resume") from error
