"""What is kept of a run while it goes on: a log and TensorBoard's files in its folder, and Weights & Biases or MLflow.

log.txt        what began when, each epoch, warnings, and how it ended
tensorboard/   curves, final figures and hyper-parameters: `tensorboard --logdir <home>/runs` shows all runs

The services go through their own packages, which have to be installed, and follow their own settings
(WANDB_MODE=offline, MLFLOW_TRACKING_URI). Where nothing is said, MLflow writes mlflow.db beside the runs: its own
default is the current folder, which for a trial of a sweep is one that is deleted. A run that is resumed, as trials are
that go on, stays one run of the service: its id is kept in wandb.id or mlflow.id of its folder. When a service fails
during a run, the log says so and the run goes on.
"""

import contextlib
import fcntl
import importlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, Protocol

from ml.errors import LookalikeError
from ml.training.finetune import EpochReport

log = logging.getLogger(__name__)

_PACKAGES = {"wandb": "wandb", "mlflow": "mlflow-skinny"}  # the whole of mlflow asks for older packages than ours
SERVICES = tuple(_PACKAGES)
_PROJECT = "lookalike"
_CURVES = ("loss", "map_at_r", "recall_at_1", "learning_rate", "images_per_s")


class End(Enum):
    """How a run ended."""

    DONE = "done"
    STOPPED = "stopped"  # by a person, or by a sweep that had seen enough: it may go on
    FAILED = "failed"


class Tracker(Protocol):
    """Keeps what it is told."""

    def epoch(self, epoch: int, curves: Mapping[str, float]) -> None:
        """An epoch has ended; 1 is the first."""

    def finish(self, figures: Mapping[str, float]) -> None:
        """The run has ended well, with these figures."""

    def close(self, end: "End") -> None:
        """The run has ended, well or not."""


class Tracking:
    """All trackers of a run, and its log."""

    def __init__(self, file: Path | None, trackers: list[Tracker]) -> None:
        self._file, self._trackers = file, trackers
        self._phase = ""

    def write(self, line: str) -> None:
        """A line of the log, with the time."""
        if self._file is None:
            return
        with (
            contextlib.suppress(OSError),
            self._file.open("a", encoding="utf-8") as file,
        ):  # of a full disk the run tells
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")

    def progress(self, phase: str) -> None:
        """A phase goes on; a new one gets a line."""
        if phase != self._phase:
            self._phase = phase
            self.write(phase)

    def epoch(self, report: EpochReport) -> None:
        """An epoch has ended."""
        curves = _finite({name: getattr(report, name) for name in _CURVES})
        self.write(f"epoch {report.epoch} of {report.epochs}: " + _text(curves))
        self._tell(lambda tracker: tracker.epoch(report.epoch, curves))

    def finish(self, metrics: Mapping[str, Any]) -> None:
        """The run has ended well."""
        figures = _finite(metrics)
        self.write("done: " + _text(figures))
        self._tell(lambda tracker: tracker.finish(figures))

    def close(self, end: End) -> None:
        self._tell(lambda tracker: tracker.close(end))

    def _tell(self, message: Any) -> None:
        for tracker in list(self._trackers):
            try:
                message(tracker)
            except Exception as error:  # noqa: BLE001 - each service has errors of its own
                self._trackers.remove(tracker)
                log.warning("%s failed, the run goes on without it: %s", type(tracker).__name__, error)


@contextlib.contextmanager
def tracked(
    run_dir: Path, name: str, config: Mapping[str, Any], service: str = "", *, resume: bool = False
) -> Iterator[Tracking]:
    """Tracks the run of this block.

    Args:
        run_dir: its folder, which exists.
        name: of the run.
        config: its settings, flat.
        service: wandb, mlflow, or empty for none.
        resume: go on with the run of the service that this folder began, if there is one.

    Raises:
        LookalikeError: there is no such service, or it cannot be used.
    """
    trackers: list[Tracker] = []
    with contextlib.suppress(ImportError):
        trackers.append(_TensorBoard(run_dir / "tensorboard", config))
    if service:
        trackers.append(_service(service, run_dir, name, config, resume))
    tracking = Tracking(run_dir / "log.txt", trackers)
    handler = _IntoLog(tracking)
    logging.getLogger().addHandler(handler)
    end = End.FAILED
    try:
        tracking.write(f"run {name} began")
        yield tracking
        end = End.DONE
    except (KeyboardInterrupt, SystemExit, GeneratorExit):  # SystemExit is how Ray Tune ends a trial
        tracking.write("stopped")
        end = End.STOPPED
        raise
    except BaseException as error:
        tracking.write(f"ended: {type(error).__name__}: {error}")
        raise
    finally:
        logging.getLogger().removeHandler(handler)
        tracking.close(end)


@contextlib.contextmanager
def untracked() -> Iterator[Tracking]:
    """What a process is given that only helps another one."""
    yield Tracking(None, [])


def check(service: str) -> None:
    """Raises LookalikeError unless the service is one of `SERVICES` and its package is installed, or it is empty."""
    if not service:
        return
    if service not in SERVICES:
        raise LookalikeError(f"track must be one of {', '.join(SERVICES)}, got {service!r}")
    try:
        importlib.import_module(service)
    except ImportError as error:
        raise LookalikeError(
            f"--track {service} needs the package {service}, which is not installed",
            hint=f"pip install {_PACKAGES[service]}",
        ) from error


def _service(service: str, run_dir: Path, name: str, config: Mapping[str, Any], resume: bool) -> Tracker:
    check(service)
    made: Callable[[Path, str, Mapping[str, Any], str], Tracker] = _WeightsAndBiases if service == "wandb" else _MLflow
    kept = run_dir / f"{service}.id"
    try:
        return made(run_dir, name, config, kept.read_text("utf-8") if resume and kept.exists() else "")
    except Exception as error:  # each has errors of its own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        hint = {"wandb": "wandb login, or WANDB_MODE=offline", "mlflow": "set MLFLOW_TRACKING_URI"}[service]
        raise LookalikeError(f"--track {service} does not work: {reason}", hint=hint) from error


class _TensorBoard:
    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder))
        self._config = {key: value for key, value in config.items() if isinstance(value, int | float | str | bool)}

    def epoch(self, epoch: int, curves: Mapping[str, float]) -> None:
        for name, value in curves.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()  # a trial may be ended without notice

    def finish(self, figures: Mapping[str, float]) -> None:
        # "." keeps them in this run's folder instead of in one below it.
        named = {f"final/{name}": value for name, value in figures.items()}
        self._writer.add_hparams(self._config, named, run_name=".")

    def close(self, end: End) -> None:
        self._writer.close()


class _WeightsAndBiases:
    def __init__(self, run_dir: Path, name: str, config: Mapping[str, Any], run_id: str) -> None:
        wandb: Any = importlib.import_module("wandb")
        again = {"id": run_id, "resume": "allow"} if run_id else {}
        self._run = wandb.init(
            project=_PROJECT, name=name, dir=str(run_dir), config=dict(config), reinit="create_new", **again
        )
        (run_dir / "wandb.id").write_text(self._run.id, "utf-8")

    def epoch(self, epoch: int, curves: Mapping[str, float]) -> None:
        self._run.log(dict(curves), step=epoch)

    def finish(self, figures: Mapping[str, float]) -> None:
        self._run.summary.update(dict(figures))

    def close(self, end: End) -> None:
        self._run.finish(exit_code=1 if end is End.FAILED else 0)


class _MLflow:
    _STATUS: ClassVar = {End.DONE: "FINISHED", End.STOPPED: "KILLED", End.FAILED: "FAILED"}

    def __init__(self, run_dir: Path, name: str, config: Mapping[str, Any], run_id: str) -> None:
        mlflow: Any = importlib.import_module("mlflow")
        beside = f"sqlite:///{run_dir.parent.resolve() / 'mlflow.db'}"
        # Two that make the database at once end both, with "table … already exists".
        with (run_dir.parent / "mlflow.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # closing lets go
            self._client = mlflow.MlflowClient(None if mlflow.tracking.is_tracking_uri_set() else beside)
            found = self._client.get_experiment_by_name(_PROJECT)
            experiment = found.experiment_id if found else self._client.create_experiment(_PROJECT)
        if run_id:
            with contextlib.suppress(mlflow.MlflowException):  # deleted there, or of another server
                self._client.update_run(run_id, status="RUNNING")
                self._run = run_id
                return
        self._run = self._client.create_run(experiment, run_name=name).info.run_id
        for key, value in config.items():
            self._client.log_param(self._run, key, value)
        (run_dir / "mlflow.id").write_text(self._run, "utf-8")

    def epoch(self, epoch: int, curves: Mapping[str, float]) -> None:
        for name, value in curves.items():
            self._client.log_metric(self._run, name, value, step=epoch)

    def finish(self, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._client.log_metric(self._run, name.replace("@", "_at_"), value)  # names may hold no @

    def close(self, end: End) -> None:
        self._client.set_terminated(self._run, self._STATUS[end])


class _IntoLog(logging.Handler):
    """Warnings of all libraries into the run's log."""

    def __init__(self, tracking: Tracking) -> None:
        super().__init__(logging.WARNING)
        self._tracking = tracking

    def emit(self, record: logging.LogRecord) -> None:
        self._tracking.write(f"{record.levelname.lower()} {record.name}: {record.getMessage()}")


def _finite(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(v) for name, v in values.items() if isinstance(v, int | float) and math.isfinite(v)}


def _text(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.6g}" for name, value in values.items())
