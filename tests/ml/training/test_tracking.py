"""What a run leaves in its folder, and what Weights & Biases and MLflow are told."""

import fcntl
import json
import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest
import wandb
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ml.data import datasets
from ml.errors import LookalikeError
from ml.evaluation.vectors import Vectors
from ml.training import tracking
from ml.training.tracking import tracked
from ml.training.train import TrainResult, train
from tests.ml.conftest import quick


@pytest.fixture(scope="module", params=[0, 2], ids=["fast", "two epochs"])
def run(request: pytest.FixtureRequest, products, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    rest, other = datasets.split_by_class(products, 0.25, seed=3)
    result = train(quick(epochs=request.param), rest, tmp_path_factory.mktemp("runs"), test=other)
    assert result is not None
    return result


def test_the_folder_holds_command_settings_commit_and_data(run):
    facts = json.loads((run.run_dir / "config.json").read_text())
    assert facts["config"]["train_px"] == 64
    assert Path(sys.argv[0]).name in facts["command"]
    assert facts["code"].keys() == {"version", "commit"} and facts["libraries"]["torch"] and facts["machine"]
    assert facts["data"].keys() == {"name", "fingerprint", "notes"}


def test_the_log_tells_phases_epochs_and_the_end(run):
    lines = (run.run_dir / "log.txt").read_text().splitlines()
    assert "began" in lines[0] and "done: " in lines[-1] and "map@r " in lines[-1]
    assert sum("epoch " in line for line in lines) == len(run.history)
    assert any(line.endswith("decoding") for line in lines)


def test_tensorboard_has_curves_figures_and_hyper_parameters(run):
    events = EventAccumulator(str(run.run_dir / "tensorboard"))
    events.Reload()
    scalars = events.Tags()["scalars"]
    assert events.Scalars("final/map@r")[0].value == pytest.approx(run.metrics["map@r"])
    assert ("loss" in scalars) == bool(run.history)
    if run.history:
        assert [event.step for event in events.Scalars("loss")] == [1, 2]
    assert "_hparams_/session_start_info" in events.summary_metadata


def test_the_vectors_of_the_test_images_are_kept(run):
    kept = Vectors.read(run.run_dir / "test.npz")
    assert len(kept.vectors) == run.metrics["images"] and kept.model == run.bundle.name


def test_a_run_that_fails_says_so_in_its_log(tmp_path):
    with pytest.raises(RuntimeError), tracked(tmp_path, "mine", {"lr": 1.0}) as log:
        log.progress("training")
        raise RuntimeError("no more")
    assert (tmp_path / "log.txt").read_text().endswith("ended: RuntimeError: no more\n")


def test_a_service_that_fails_does_not_end_the_run(tmp_path, caplog, monkeypatch):
    class Away:
        def __init__(self, *_: object) -> None:
            pass

        def finish(self, figures: object) -> None:
            raise ConnectionError("no route")

    monkeypatch.setattr(tracking, "_TensorBoard", Away)
    with tracked(tmp_path, "mine", {}) as log:
        log.finish({"map@r": 0.5})
    assert "Away failed, the run goes on without it: no route" in caplog.text


@pytest.mark.parametrize(
    ("service", "message"),
    [
        ("mind", "track must be one of wandb, mlflow, got 'mind'"),
        ("wandb", "--track wandb needs the package wandb, which is not installed"),
        ("mlflow", "--track mlflow needs the package mlflow, which is not installed"),
    ],
)
def test_a_service_that_is_not_there_is_told_before_the_run(service, message, monkeypatch):
    monkeypatch.setitem(sys.modules, service, None)
    with pytest.raises(LookalikeError, match=message):
        tracking.check(service)


def _short_run(folder: Path, service: str, epoch: int = 1, *, resume: bool = False) -> None:
    with tracked(folder, "mine", {"lr": 0.1, "loss": "supcon"}, service, resume=resume) as log:
        for tracker in log._trackers:
            tracker.epoch(epoch, {"loss": 2.0})
        log.finish({"held_out_map@r": 0.5, "name": "no figure"})


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.mark.usefixtures("offline")
def test_weights_and_biases_offline_keeps_one_run_over_a_resumption(tmp_path):
    _short_run(tmp_path, "wandb")
    _short_run(tmp_path, "wandb", epoch=2, resume=True)
    wandb.teardown()  # its own process writes what a run has told, and may be behind
    first, second = sorted(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))
    for file in (first, second):
        assert b"held_out_map@r" in file.read_bytes() and b"supcon" in file.read_bytes()
    assert first.name == second.name  # by its id, which `wandb sync` joins them by


@pytest.fixture(scope="module")
def mlflow_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs with one database, which takes seconds to make."""
    return tmp_path_factory.mktemp("runs")


def _told(runs: Path, name: str) -> tuple[Any, Any]:
    client = mlflow.MlflowClient(f"sqlite:///{runs / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("lookalike").experiment_id
    (run,) = client.search_runs([experiment], f"run_name = '{name}'")
    return client, run


@pytest.mark.usefixtures("offline")
def test_mlflow_writes_beside_the_runs_and_keeps_one_run_over_a_resumption(mlflow_runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # trials of sweeps are in a folder that is deleted
    (mlflow_runs / "mine").mkdir()
    _short_run(mlflow_runs / "mine", "mlflow")
    _short_run(mlflow_runs / "mine", "mlflow", epoch=2, resume=True)
    assert not list(tmp_path.iterdir())
    client, run = _told(mlflow_runs, "mine")
    assert run.info.status == "FINISHED" and run.data.params == {"lr": "0.1", "loss": "supcon"}
    assert run.data.metrics == {"loss": 2.0, "held_out_map_at_r": 0.5}
    assert [item.step for item in client.get_metric_history(run.info.run_id, "loss")] == [1, 2]


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(("error", "status"), [(SystemExit(0), "KILLED"), (ValueError("no"), "FAILED")])
def test_mlflow_is_told_whether_a_run_was_stopped_or_failed(error, status, mlflow_runs):
    folder = mlflow_runs / status
    folder.mkdir()
    with pytest.raises(type(error)), tracked(folder, status, {}, "mlflow"):
        raise error
    assert _told(mlflow_runs, status)[1].info.status == status


@pytest.mark.usefixtures("offline")
def test_one_trial_at_a_time_opens_the_database_of_mlflow(mlflow_runs, monkeypatch):
    opened = mlflow.MlflowClient

    def watched(uri: str) -> Any:
        with (mlflow_runs / "mlflow.lock").open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return opened(uri)

    (mlflow_runs / "trial").mkdir()
    monkeypatch.setattr(mlflow, "MlflowClient", watched)
    with tracked(mlflow_runs / "trial", "trial", {}, "mlflow"):
        pass
