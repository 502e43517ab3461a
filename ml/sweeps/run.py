"""Hyper-parameter search over training runs: Ray Tune around `ml.training.train.train`.

Settings are judged by mAP@R of classes held out of the training data, never by a test set: by the mean over their
repeats, each with a seed and held-out classes of its own. The winner is trained once more with a seed that it was not
chosen by. That run's figure is the one to report, since the best of many figures is too good by the luck that made it
the best. Several trials run side by side, as many as the machine has room for, and share decoded images. ASHA lets the
best third go on at each mark (ml.sweeps.asha). Every result is on disk at once: a killed sweep goes on without
repeating a finished trial.
"""

import contextlib
import dataclasses
import logging
import math
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler

from ml.data.datasets import Dataset
from ml.ray_cluster.session import session
from ml.ray_cluster.shared_cache import start_cache_actor
from ml.sweeps.asha import Rungs, StopAtMarks
from ml.sweeps.plan import SweepPlan, check
from ml.sweeps.record import Configuration, Record, Trial
from ml.sweeps.search_space import Choice
from ml.sweeps.searcher import METRIC, SweepSearcher
from ml.sweeps.trial import Job, RecordCallback, run
from ml.training.checkpoints import TrainingFailed

log = logging.getLogger(__name__)

_RETRIES = 2  # of a trial whose process dies


@dataclass(frozen=True)
class SweepResult:
    """A finished sweep.

    Args:
        record: all trials.
        best: the complete setting with the highest mean; `best.map_at_r` is what it was chosen by.
        measured: the winner trained and measured anew, with a seed that it was not chosen by: an honest figure.
        model: folder of the model that was measured anew.
        seconds: of the sweep.
        decoded: images that were decoded.
    """

    record: Record
    best: Configuration
    measured: Configuration
    model: Path
    seconds: float
    decoded: int = field(default=0)


def sweep(
    plan: SweepPlan,
    data: Sequence[Dataset],
    record: Record,
    *,
    on_change: Callable[[Record], None] | None = None,
) -> SweepResult:
    """Runs what the record does not hold yet.

    Args:
        plan: what to do.
        data: labelled images; every setting is tried on each set, and judged by the mean.
        record: of this sweep, new or loaded.
        on_change: told whenever a trial has reported.

    Raises:
        BadDataset, LookalikeError: as `ml.sweeps.plan.check`.
        TrainingFailed: no setting went to its end with all repeats; the message says why the first trial failed.
        BadSearchSpace: a grid over a range.
        LookalikeError: another process sweeps in this folder.
    """
    check(plan, data)
    with record.held():
        return _swept(plan, data, record, on_change)


def _swept(
    plan: SweepPlan, data: Sequence[Dataset], record: Record, on_change: Callable[[Record], None] | None
) -> SweepResult:
    began = time.monotonic()
    record.plan.setdefault(
        "data", [{"name": each.name, "fingerprint": each.fingerprint, "images": len(each)} for each in data]
    )
    decoded = 0
    with session(gpus=plan.gpus):
        cache_actor = start_cache_actor()
        for dataset in data:
            _tune(plan, dataset, record, cache_actor, on_change)
        best = _completed(plan, data, record, cache_actor, on_change)
        again = _only(plan, best.settings, seed=plan.base.seed + plan.repeats, repeats=1)
        for dataset in data:
            _tune(again, dataset, record, cache_actor, on_change)
        decoded = ray.get(cache_actor.count.remote())
    _clear(record)
    measured = record.measurements(best.settings)
    if not measured.is_complete:
        raise TrainingFailed(
            f"the best settings could not be measured anew: {_reason(measured.trials)}",
            hint=f"lookalike sweep --resume {record.directory.name} tries it again",
        )
    first = next((trial for trial in measured.done if trial.data == data[0].name), measured.done[0])
    return SweepResult(record, best, measured, record.directory / first.model, time.monotonic() - began, decoded)


def _completed(
    plan: SweepPlan,
    data: Sequence[Dataset],
    record: Record,
    cache_actor: Any,
    on_change: Callable[[Record], None] | None,
) -> Configuration:
    """The best complete setting. Where ASHA let none go to the end with every repeat on every data set, the one that
    is ahead is brought there."""
    ranked = record.configurations()
    if ranked and not ranked[0].is_complete and not math.isnan(ranked[0].known_map_at_r):
        for trial in ranked[0].trials:
            trial.state = "running" if trial.state == "pruned" else trial.state
        for dataset in data:
            _tune(_only(plan, ranked[0].settings), dataset, record, cache_actor, on_change)
        ranked = record.configurations()
    if not ranked or not ranked[0].is_complete:
        raise TrainingFailed(*_why(record))
    return ranked[0]


def _only(plan: SweepPlan, settings: Mapping[str, Any], *, seed: int | None = None, repeats: int = 0) -> SweepPlan:
    """One setting, to its end."""
    return dataclasses.replace(
        plan,
        space={name: Choice((value,)) for name, value in settings.items()},
        search="grid",
        scheduler="none",
        trials=1,
        base=plan.base if seed is None else dataclasses.replace(plan.base, seed=seed),
        repeats=repeats or plan.repeats,
    )


def _tune(
    plan: SweepPlan, data: Dataset, record: Record, cache_actor: Any, on_change: Callable[[Record], None] | None
) -> None:
    """All runs on one data set: ASHA compares like with like."""
    epochs = plan.space.get("epochs", Choice((plan.base.epochs,)))
    longest = int(max(epochs.values) if isinstance(epochs, Choice) else epochs.high)
    rungs = Rungs(longest) if plan.scheduler == "asha" and longest > 1 else None
    searcher = SweepSearcher(
        plan.space,
        plan.search,
        count=plan.trials,
        seeds=[plan.base.seed + number for number in range(plan.repeats)],
        record=record,
        data=data.name,
        fingerprint=data.fingerprint,
        seed=plan.base.seed,
        rungs=rungs,
    )
    if not searcher.runs:
        return
    resources, side_by_side = _room(plan, searcher.runs)
    scheduler = StopAtMarks(rungs.marks, plan.base.epochs) if rungs else FIFOScheduler()
    job = Job(plan.base, plan.workers, plan.gpus == 0, plan.track, data, record.directory, cache_actor)
    state = record.directory / ".tune"
    with _quietly():
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(run, job=job), resources),
            tune_config=tune.TuneConfig(
                metric=METRIC,
                mode="max",
                search_alg=searcher,
                scheduler=scheduler,
                num_samples=searcher.runs,
                max_concurrent_trials=side_by_side,
                reuse_actors=True,  # a new process would spend seconds on importing torch
            ),
            run_config=tune.RunConfig(
                name=f"{record.directory.name}-{uuid.uuid4().hex[:8]}",
                storage_path=str(state),
                callbacks=[RecordCallback(record, data, on_change)],
                failure_config=tune.FailureConfig(max_failures=_RETRIES),
                verbose=0,
            ),
        )
        try:
            tuner.fit()
        finally:
            shutil.rmtree(state, ignore_errors=True)


def _room(plan: SweepPlan, runs: int) -> tuple[dict[str, float], int]:
    """What each trial takes, and how many run side by side.

    A CPU trial takes one core: batches of 32 small images gain less from a second thread than a second trial does.
    Two trials share a GPU: one of them decodes and augments while the other multiplies.
    """
    resources = ray.cluster_resources()
    processors, gpus = int(resources.get("CPU", 1)), resources.get("GPU", 0)
    if plan.workers > 1:
        return {"CPU": 0}, max(1, processors // plan.workers)
    if gpus and plan.gpus != 0:
        slots = int(2 * gpus)
        return {"CPU": max(1, processors // slots), "GPU": 0.5}, slots
    slots = max(1, min(processors, runs))
    return {"CPU": max(1, processors // slots)}, slots


def _why(record: Record) -> tuple[str]:
    failed = [trial for trial in record.trials.values() if trial.state == "failed"]
    if not failed:
        return ("no setting went to the end with all of its repeats",)
    how_many = "all" if len(failed) == len(record.trials) else f"{len(failed)} of"
    trials = f"{how_many} {len(record.trials)} trials failed"
    return (f"{trials}, the first because {failed[0].reason}; logs: {record.directory / 'logs'}",)


def _reason(trials: Sequence[Trial]) -> str:
    return next((trial.reason for trial in trials if trial.reason), "its run did not end")


def _clear(record: Record) -> None:
    """Removes the checkpoints of trials that ended without a model; their logs and curves stay."""
    finished = {(record.directory / trial.model).parent for trial in record.trials.values() if trial.model}
    for folder in (record.directory / "runs").glob("*"):
        for name in ("checkpoints", "best") if folder not in finished else ():
            shutil.rmtree(folder / name, ignore_errors=True)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Ray Tune without loggers of its own, without its handling of Ctrl-C, without its tables."""
    switches = {
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "RAY_AIR_NEW_OUTPUT": "0",
    }
    before = {name: os.environ.get(name) for name in switches}
    os.environ.update(switches)
    loggers = [logging.getLogger(name) for name in ("ray.tune", "ray.train", "ray")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
