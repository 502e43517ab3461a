"""One trial of a sweep: what runs in its process, and what its reports become in the record."""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

from ml.data.datasets import Dataset
from ml.errors import LookalikeError
from ml.ray_cluster.shared_cache import SharedCache
from ml.sweeps.record import Record, Trial, trial_id
from ml.sweeps.searcher import METRIC
from ml.training.config import TrainConfig
from ml.training.finetune import EpochReport
from ml.training.train import TrainResult, train

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What every trial is given."""

    base: TrainConfig
    workers: int
    is_on_cpus: bool  # even where there are GPUs
    track: str
    data: Dataset
    directory: Path
    cache_actor: Any


def run(config: dict[str, Any], job: Job) -> None:
    """One trial, in a process of its recorded."""
    log_file = job.directory / "logs" / f"{trial_id(config['settings'], config['seed'], job.data.fingerprint)}.log"
    torch.set_num_threads(max(1, int(ray.get_runtime_context().get_assigned_resources().get("CPU", 1))))
    began = time.monotonic()

    def on_epoch(report: EpochReport) -> None:
        log.info("epoch %d: loss %.4f, mAP@R %.4f", report.epoch, report.loss, report.map_at_r)
        tune.report({METRIC: report.map_at_r, "epoch": report.epoch, "report": report.to_json()})

    with _logged_to(log_file):
        try:
            train_config = job.base.changed(config["settings"] | {"seed": config["seed"]})
            result = _train(train_config, job, on_epoch)
        except LookalikeError as error:
            log.exception("failed")
            tune.report({METRIC: -1.0, "epoch": 0, "failed": error.message})
            return
        except Exception as error:
            log.exception("failed")
            tune.report({METRIC: -1.0, "epoch": 0, "failed": f"{type(error).__name__}: {error}"})
            return
        value = result.metrics.get("held_out_map@r", math.nan)
        log.info("done: mAP@R %.4f", value)
        tune.report(
            {
                METRIC: value,
                "epoch": train_config.epochs + 1,
                "done": True,
                "final": value,
                "model": str(result.bundle.directory.relative_to(job.directory)),
                "seconds": time.monotonic() - began,
            }
        )


def _train(config: TrainConfig, job: Job, on_epoch: Callable[[EpochReport], None]) -> TrainResult:
    """The run of a trial. The sweep holds its folder, and with it those of all runs: a trial that was pruned still
    stands in the midst of its run while another process goes on with it."""
    runs = job.directory / "runs"
    if job.workers > 1:
        from ml.ray_cluster.data_parallel import train_distributed

        return train_distributed(
            config,
            job.data,
            runs,
            workers=job.workers,
            gpus=0 if job.is_on_cpus else None,
            cpus_each=1,
            resume=True,
            is_held=True,
            track=job.track,
            cache_actor=job.cache_actor,
            on_epoch=on_epoch,
        )
    # Resuming: a trial whose process died goes on from its last epoch.
    cache = SharedCache(job.cache_actor)
    result = train(config, job.data, runs, resume=True, is_held=True, cache=cache, track=job.track, on_epoch=on_epoch)
    assert result is not None  # only further processes get None
    return result


class RecordCallback(tune.Callback):
    """Writes into the record what trials report, in the process that runs the sweep."""

    def __init__(self, record: Record, data: Dataset, on_change: Callable[[Record], None] | None) -> None:
        self._record, self._data, self._on_change = record, data, on_change
        self._began: dict[str, float] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray Tune pickles what it is given, for a restoration that we do without

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        recorded = self._of(trial)
        recorded.state, recorded.reason = "running", ""
        self._began[recorded.id] = time.monotonic() - recorded.seconds
        self._changed()

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        recorded = self._of(trial)
        recorded.seconds = round(time.monotonic() - self._began.get(recorded.id, time.monotonic()), 1)
        if "failed" in result:
            recorded.state, recorded.reason = "failed", str(result["failed"])
        elif "final" in result:
            recorded.state, recorded.map_at_r, recorded.model = "done", result["final"], result["model"]
        elif "report" in result:
            earlier = [item for item in recorded.history if item["epoch"] < result["epoch"]]
            report = {key: result["report"][key] for key in ("epoch", "loss", "map_at_r")}
            recorded.history = [*earlier, report | {"seconds": recorded.seconds}]
        self._changed()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        recorded = self._of(trial)
        if recorded.state == "running":
            recorded.state = "pruned"
        self._changed()

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        recorded = self._of(trial)
        recorded.state, recorded.reason = "failed", "its process died, see its log"
        self._changed()

    def _of(self, trial: Any) -> Trial:
        config = trial.config
        return self._record.begin(config["settings"], config["seed"], self._data.name, self._data.fingerprint)

    def _changed(self) -> None:
        self._record.save()
        if self._on_change:
            self._on_change(self._record)


@contextlib.contextmanager
def _logged_to(file: Path) -> Iterator[None]:
    file.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()
