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
import itertools
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

from ml.data import datasets
from ml.data.datasets import BadDataset, Dataset
from ml.data.holdout import hold_out
from ml.errors import LookalikeError
from ml.model import weights
from ml.ray_cluster.session import session
from ml.ray_cluster.shared_cache import start_cache_actor
from ml.sweeps import search_space
from ml.sweeps.asha import Rungs, StopAtMarks
from ml.sweeps.record import Configuration, Record, Trial
from ml.sweeps.search_space import BadSearchSpace, Choice, Range, Space
from ml.sweeps.searcher import METRIC, SweepSearcher
from ml.sweeps.trial import Job, RecordCallback, run
from ml.training.checkpoints import TrainingFailed
from ml.training.config import TrainConfig

log = logging.getLogger(__name__)

# What decides most on photos of products, with ranges around the presets' values.
DEFAULT_SPACE: Space = {
    "lr": Range(3e-5, 1e-3, is_log=True),
    "temperature": Range(0.02, 0.2, is_log=True),
    "images_per_class": Choice((2, 4, 8)),
    "keep_pretrained": Choice((0.0, 0.25)),
}
DEFAULT_TRIALS = 12
# Fewer epochs than a final training takes: enough to tell settings apart.
DEFAULT_EPOCHS = 6
# More classes than a final training holds out: a handful of classes would be noise.
DEFAULT_HOLDOUT = 0.25
_FIXED = {
    "holdout": "it decides what is measured",
    "split": "it decides what is measured",
    "seed": "use --repeats",
    "preset": "name it with --preset",
}
_TOGETHER = {"loss", "miner"}  # what one may be depends on the other
_RETRIES = 2  # of a trial whose process dies
_SEARCHES = ("grid", "random", "optuna")


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep does.

    Args:
        space: what may vary.
        base: every other setting.
        search: grid, random or optuna.
        scheduler: asha or none.
        trials: settings to try; a grid tries all of its own.
        repeats: seeds that every setting is tried with.
        workers: processes of each trial.
        gpus: of a Ray on this machine; None for those that there are.
        track: wandb or mlflow for every trial, besides TensorBoard; empty for neither.
    """

    space: Space
    base: TrainConfig
    search: str = "optuna"
    scheduler: str = "asha"
    trials: int = DEFAULT_TRIALS
    repeats: int = 1
    workers: int = 1
    gpus: int | None = None
    track: str = ""

    def __post_init__(self) -> None:
        if not self.space:
            raise BadSearchSpace("the search space is empty", hint="for example --grid lr=1e-4,3e-4")
        for name in self.space:
            if name in _FIXED:
                raise BadSearchSpace(f"{name} cannot be searched", hint=_FIXED[name])
        if self.search not in _SEARCHES:
            raise LookalikeError(f"search must be one of {', '.join(_SEARCHES)}, got {self.search!r}")
        for name, dimension in self.space.items():
            for value in search_space.ends(dimension):
                self._check(name, value)

    def _check(self, name: str, value: Any) -> None:
        """Raises LookalikeError for a value with which no trial could begin, whatever the other settings are."""
        if name == "backbone":
            weights.check_name(value)
        together = _TOGETHER & self.space.keys() - {name} if name in _TOGETHER else ()
        others = {other: search_space.ends(self.space[other]) for other in together}
        wrong: list[LookalikeError] = []
        for settings in itertools.product(*others.values()):
            try:
                self.base.changed({name: value} | dict(zip(others, settings, strict=True)))
                return
            except LookalikeError as error:
                wrong.append(error)
        raise wrong[0]

    def to_json(self) -> dict[str, Any]:
        """A dict of plain JSON types."""
        space = {
            name: list(dimension.values) if isinstance(dimension, Choice) else dataclasses.asdict(dimension)
            for name, dimension in self.space.items()
        }
        names = ("search", "scheduler", "trials", "repeats", "workers", "gpus", "track")
        return {"space": space, "base": self.base.to_json()} | {name: getattr(self, name) for name in names}

    @classmethod
    def from_json(cls, plan: Mapping[str, Any]) -> "SweepPlan":
        """The inverse of `to_json`. Raises LookalikeError when it is no such plan."""
        try:
            return cls._from_json(plan)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise LookalikeError(f"the sweep's plan cannot be read: {error}", hint="start a new sweep") from error

    @classmethod
    def _from_json(cls, plan: Mapping[str, Any]) -> "SweepPlan":
        space = {
            name: Choice(tuple(values)) if isinstance(values, list) else Range(**values)
            for name, values in plan["space"].items()
        }
        names = ("search", "scheduler", "trials", "repeats", "workers", "gpus")
        return cls(
            space,
            TrainConfig.from_json(plan["base"]),
            **{name: plan[name] for name in names},
            track=plan.get("track", ""),
        )


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
        BadDataset: a set cannot be trained on, or has too few classes to hold some out.
        TrainingFailed: no setting went to its end with all repeats; the message says why the first trial failed.
        BadSearchSpace: a grid over a range.
    """
    began = time.monotonic()
    for dataset in data:
        datasets.check_trainable(dataset)
        if not hold_out(dataset, plan.base.holdout, split=plan.base.split).is_held.any():
            raise BadDataset(
                f"{dataset.name} has too few classes to hold some out",
                hint="a sweep needs at least four classes, or four images of a class",
            )
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


def best_config(plan: SweepPlan, best: Configuration, **changes: Any) -> TrainConfig:
    """The winner's config, with changes, for a training of its own."""
    return plan.base.changed(best.settings | changes)


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
