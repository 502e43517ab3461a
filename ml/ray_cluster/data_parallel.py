"""One training run on many processes: Ray Train around `ml.training.train.train`.

Every process runs the same function on its share of every batch, computes the loss over the features of all shares and
averages gradients with the others (gloo on CPUs, nccl on GPUs): the global batch and its gradients are those of one
process, whatever the loss. After each epoch the first process hands its checkpoint to Ray, which keeps it in storage;
when a process dies, Ray replaces it and all of them go on from there. Images are decoded once, where they are, and
shared.
"""

import contextlib
import logging
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
import torch
from torch import distributed

from ml import cores
from ml.data import datasets
from ml.data.datasets import Dataset, Progress
from ml.data.notes import notes_on
from ml.errors import LookalikeError
from ml.model.bundle import Bundle
from ml.ray_cluster.events import EventChannel, forward_events, progress_reporter
from ml.ray_cluster.session import session
from ml.ray_cluster.shared_cache import SharedCache, start_cache_actor
from ml.training import checkpoints, fit, train
from ml.training.checkpoints import TrainingFailed
from ml.training.config import TrainConfig
from ml.training.finetune import EpochReport
from ml.training.process_group import TorchProcessGroup, check_cards
from ml.training.runs import Run
from ml.training.train import TrainResult

if TYPE_CHECKING:
    import pyarrow.fs

log = logging.getLogger(__name__)

RETRIES = 3
# What another try would only repeat.
_MISTAKES = (LookalikeError, ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)


@dataclass(frozen=True)
class _Job:
    """What every process is given."""

    config: TrainConfig
    data: Dataset
    test: Dataset | None
    runs_dir: Path
    node: str  # whose disk `runs_dir` is on
    start: dict[str, bytes] | None  # files of the checkpoint to begin after
    cache_actor: Any
    channel: Any
    is_gpu: bool
    track: str


def train_distributed(
    config: TrainConfig,
    data: Dataset,
    runs_dir: Path,
    *,
    test: Dataset | None = None,
    workers: int = 1,
    gpus: int | None = None,
    cpus_each: int | None = None,
    resume: bool = False,
    is_held: bool = False,
    track: str = "",
    storage: str = "",
    cache_actor: Any = None,
    on_progress: Progress | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
    on_workers: Callable[[list[int]], None] | None = None,
) -> TrainResult:
    """`ml.training.train.train` on many processes.

    Args:
        config: what to do.
        data: labelled images; only this machine reads their files.
        runs_dir: as for `train`.
        test: measured by the first process, which must be able to read its files.
        workers: processes.
        gpus: of all of them together, as many as processes; 0 for CPUs, None for one each where there are any.
        cpus_each: cores of each process; None shares out those that there are.
        resume: go on after the last checkpoint of this very run.
        is_held: as for `train`.
        track: as for `train`.
        storage: URL under which Ray keeps checkpoints; a cluster of many machines needs one that all of them reach.
        cache_actor: of images shared with other runs.
        on_progress: told what is being done and how far it is.
        on_epoch: told of every finished epoch.
        on_workers: told the process ids whenever the processes have started.

    Raises:
        BadDataset: the data cannot be trained or measured on.
        TrainingFailed: the run cannot go on; its last checkpoint is kept.
        LookalikeError: Ray is not there or has too few GPUs, or this very run is under way elsewhere.
    """
    began = time.monotonic()
    check_cards(workers, gpus)
    datasets.check_trainable(data)
    fit.check(config, data)
    run = Run.of(config, data, runs_dir)
    remarks = notes_on(data, test)
    with contextlib.nullcontext() if is_held else run.held():
        if not resume and (aside := run.begin_anew()):
            remarks.append(aside)
        if not (run.directory / "model" / "model.json").exists():
            with session(cpus=max(workers, cores.available())):
                gpus_used = _gpus(workers, gpus)
                channel = ray.remote(EventChannel).options(num_cpus=0).remote()
                job = _Job(
                    config,
                    data,
                    test,
                    runs_dir,
                    ray.get_runtime_context().get_node_id(),
                    _packed(checkpoints.latest(run.directory / "checkpoints")),
                    cache_actor or start_cache_actor(),
                    channel,
                    gpus_used > 0,
                    track,
                )
                forward_epoch = (lambda event: on_epoch(EpochReport.from_json(event))) if on_epoch else None
                with forward_events(channel, on_progress, forward_epoch, on_workers):
                    _fit(job, run, workers, gpus_used, cpus_each, storage)
        finished = Bundle.load(run.directory / "model")
        history = [EpochReport.from_json(item) for item in checkpoints.read_history(run.directory)]
        return TrainResult(finished, finished.metrics, history, time.monotonic() - began, remarks, run.directory)


def _fit(job: _Job, run: Run, workers: int, gpus: int, cpus_each: int | None, storage: str) -> None:
    """Lets Ray Train run the job, and brings the model here."""
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from ml.ray_cluster.rendezvous import torch_config

    # A name used twice would resume the old run.
    name = f"{run.name}-{uuid.uuid4().hex[:8]}"
    files, root = _file_system(storage or f"file://{job.runs_dir / '.ray'}")
    shared_out = 1 if gpus else int(ray.cluster_resources().get("CPU", 1) / workers)
    each: dict[str, float] = {"CPU": cpus_each or max(1, shared_out)}
    if gpus:
        each["GPU"] = 1
    trainer = TorchTrainer(
        _work,
        train_loop_config={"job": job},
        torch_config=torch_config("nccl" if gpus else "gloo"),
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpus > 0, resources_per_worker=each),
        run_config=RunConfig(
            name=name,
            storage_path=root,
            storage_filesystem=files,
            failure_config=FailureConfig(max_failures=RETRIES),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    )
    try:
        result = trainer.fit()
        failure = ray.get(job.channel.failure.remote())
        if failure:
            raise TrainingFailed(failure[0], hint=failure[1])
        if not (run.directory / "model" / "model.json").exists() and result.checkpoint:
            result.checkpoint.to_directory(run.directory)
    except ray.train.TrainingFailedError as error:
        raise TrainingFailed(
            f"processes died {RETRIES + 1} times: {_last_line(error)}",
            hint="go on with --resume once the cause is found",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            files.delete_dir(f"{root}/{name}")


def _work(loop_config: dict[str, Any]) -> None:
    """What one process does."""

    job: _Job = loop_config["job"]
    if ray.get(job.channel.failure.remote()):
        return
    process_group = TorchProcessGroup()
    job.channel.send.remote("worker", (process_group.rank, os.getpid()))
    torch.set_num_threads(max(1, int(ray.get_runtime_context().get_assigned_resources().get("CPU", 1))))
    is_first = process_group.rank == 0
    with contextlib.ExitStack() as stack:
        runs_dir = job.runs_dir
        if not is_first or ray.get_runtime_context().get_node_id() != job.node:
            runs_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lookalike-run-")))
        run = Run.of(job.config, job.data, runs_dir)
        # All processes go on from the same epoch: from what Ray holds, not from what may lie here.
        _place(run.directory / "checkpoints", job.start)
        try:
            train.train(
                job.config,
                job.data,
                runs_dir,
                test=job.test if is_first else None,
                resume=True,
                is_held=True,
                cache=SharedCache(job.cache_actor),
                process_group=process_group,
                device="cuda" if job.is_gpu else "cpu",
                track=job.track,
                on_progress=progress_reporter(job.channel) if is_first else None,
                on_epoch=lambda report: _report_epoch(job.channel, report, is_first=is_first),
            )
        except _MISTAKES as error:
            # Raised, so that Ray ends the other processes, which may be waiting for this one. Those that it starts
            # again come back to the first lines of this function, and end. Ray itself ends the group of those whose
            # neighbour has died, in the midst of their work: what they raise then is no mistake of the run.
            if distributed.is_initialized():
                ray.get(job.channel.fail.remote(*_told(error)))
            raise
        _report_model(run.directory, is_first=is_first)


def _told(error: Exception) -> tuple[str, str]:
    """Message and hint."""
    if isinstance(error, LookalikeError):
        return error.message, error.hint
    return f"{type(error).__name__}: {error}", "run it with --workers 1 --debug"


def _report_epoch(channel: Any, report: EpochReport, *, is_first: bool) -> None:
    if is_first:
        ray.get(channel.send.remote("epoch", report.to_json()))
    checkpoint = None
    if report.checkpoint is not None:
        checkpoint = ray.train.Checkpoint.from_directory(report.checkpoint)
    ray.train.report({"epoch": report.epoch}, checkpoint=checkpoint)  # waits for all the processes


def _report_model(directory: Path, *, is_first: bool) -> None:
    checkpoint = ray.train.Checkpoint.from_directory(directory) if is_first else None
    ray.train.report({"epoch": -1}, checkpoint=checkpoint)


def _place(folder: Path, start: dict[str, bytes] | None) -> None:
    """Makes the folder of checkpoints hold exactly the one to go on from."""
    if (folder.parent / "model" / "model.json").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    checkpoint = ray.train.get_checkpoint()
    target = folder / "epoch-0000"
    if checkpoint is not None:
        checkpoint.to_directory(target)
    elif start is not None:
        target.mkdir(parents=True)
        for name, content in start.items():
            (target / name).write_bytes(content)


def _packed(checkpoint: checkpoints.Checkpoint | None) -> dict[str, bytes] | None:
    if checkpoint is None:
        return None
    return {path.name: path.read_bytes() for path in checkpoint.directory.iterdir()}


def _gpus(workers: int, requested: int | None) -> int:
    available = int(ray.cluster_resources().get("GPU", 0))
    check_cards(workers, requested, available)
    return workers if (requested is None and available) or requested else 0


def _file_system(url: str) -> tuple["pyarrow.fs.FileSystem", str]:
    """A storage URL as Ray wants it: pyarrow's file system, and the path on it."""
    import fsspec
    import pyarrow.fs

    if url.startswith("file://"):
        return pyarrow.fs.LocalFileSystem(), url.removeprefix("file://").rstrip("/")
    files, path = fsspec.core.url_to_fs(url)
    return pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(files)), path.rstrip("/")


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
