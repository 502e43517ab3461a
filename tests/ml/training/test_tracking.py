"""What a run leaves in its folder, and what Weights & Biases and MLflow are told."""

import json
import sys
from pathlib import Path

import pytest
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
    ],
)
def test_a_service_that_is_not_there_is_told_before_the_run(service, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(LookalikeError, match=message):
        tracking.check(service)


def _short_run(folder: Path, service: str) -> None:
    with tracked(folder, "mine", {"lr": 0.1, "loss": "supcon"}, service) as log:
        for tracker in log._trackers:
            tracker.epoch(1, {"loss": 2.0})
        log.finish({"held_out_map@r": 0.5, "name": "no figure"})


def test_weights_and_biases_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    _short_run(tmp_path, "wandb")
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    content = file.read_bytes()
    assert b"held_out_map@r" in content and b"supcon" in content


def test_mlflow_in_a_folder(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    _short_run(tmp_path, "mlflow")
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("lookalike").experiment_id])
    assert run.info.status == "FINISHED" and run.data.params == {"lr": "0.1", "loss": "supcon"}
    assert run.data.metrics == {"loss": 2.0, "held_out_map_at_r": 0.5}
