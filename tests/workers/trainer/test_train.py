"""A training that is asked for: what is said and refused before any process is started."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ml.errors import LookalikeError
from ml.model.registry import Registry
from ml.training.fit import device_of
from tests.ml.conftest import write_image
from workers import settings
from workers.messages import SweepRequest, TrainRequest
from workers.trainer.report import Report
from workers.trainer.sweep import sweep
from workers.trainer.train import train


class _Started(Exception):
    pass


class _Said(Report):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes that hold the same two photos."""
    monkeypatch.setenv("LOOKALIKE_HOME", str(tmp_path / "home"))
    for label in ("a", "b"):
        for number in range(2):
            write_image(tmp_path / "photos" / label / f"{number}.jpg", seed=number)
    return tmp_path / "photos"


def test_notes_on_the_data_come_before_several_processes_are_started(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = _Said()

    def start(*_: object, **__: object) -> None:
        assert any(line.startswith("note: 2 images lie in more than one class") for line in said.lines)
        raise _Started

    stand_in = SimpleNamespace(train_distributed=start)
    monkeypatch.setitem(sys.modules, "ml.ray_cluster.data_parallel", stand_in)  # Ray would take its time
    with pytest.raises(_Started):
        train(TrainRequest(str(photos), None, "accurate", {}, 2, 0), settings.load(), said)


def test_strict_refuses_them_before_several_processes_are_started(photos: Path) -> None:
    with pytest.raises(LookalikeError, match="notes on the data"):
        train(TrainRequest(str(photos), None, "accurate", {}, 2, 0, strict=True), settings.load(), _Said())


@pytest.mark.parametrize("perform", [train, sweep])
def test_gpus_that_are_not_here_are_refused_before_a_photo_is_read(
    perform: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKALIKE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    absent = str(tmp_path / "absent")  # would be told as well, if it were looked at
    request = TrainRequest(absent, gpus=1) if perform is train else SweepRequest((absent,), gpus=1)
    with pytest.raises(LookalikeError, match="there is no GPU that PyTorch can use, got gpus 1"):
        perform(request, settings.load(), _Said())
    assert not (tmp_path / "home" / "sweeps").exists()


def test_of_a_clusters_gpus_ray_is_asked(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: object, **__: object) -> None:
        raise _Started

    monkeypatch.setenv("RAY_ADDRESS", "trainer:6379")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setitem(sys.modules, "ml.ray_cluster.data_parallel", SimpleNamespace(train_distributed=start))
    with pytest.raises(_Started):
        train(TrainRequest(str(photos), None, "accurate", {}, 1, 1), settings.load(), _Said())


@pytest.mark.parametrize(
    ("device", "gpus", "expected"), [("auto", 1, "auto"), ("cpu", 1, "cuda"), ("cuda", 0, "cpu"), ("cpu", None, "cpu")]
)
def test_a_gpu_that_is_asked_for_is_trained_on(
    device: str, gpus: int | None, expected: str, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*_: object, **given: object) -> None:
        assert given["device"] == expected
        raise _Started

    monkeypatch.setenv("LOOKALIKE_DEVICE", device)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr("ml.training.train.train", start)
    with pytest.raises(_Started):
        train(TrainRequest(str(photos), gpus=gpus), settings.load(), _Said())


def test_a_gpu_that_a_setting_names_by_number_is_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_of("cuda:1") == torch.device("cuda:1")
    with pytest.raises(LookalikeError, match="device cuda:2 is not one of the 2 here"):
        device_of("cuda:2")


def test_the_same_command_again_says_what_becomes_of_the_earlier_model(
    tmp_path: Path, demo_photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKALIKE_HOME", str(tmp_path))
    current, said = settings.load(), _Said()
    request = TrainRequest(str(demo_photos), preset="fast", config={"test_px": 64, "dim": 16, "tune": False})
    first = train(request, current, said)
    assert not first.is_active and not [line for line in said.lines if "earlier" in line or "before" in line]
    Registry(current.models_url).activate(first.model, "gallery-1")
    again = train(request, current, said)
    assert again.model == first.model and again.is_active
    assert f"note: {first.model} was registered before with the very same weights: it stays as it is, and answers" in (
        "\n".join(said.lines)
    )
    (aside,) = (tmp_path / "runs").glob("*.1")
    assert (aside / "model" / "model.json").exists() and any(str(aside) in line for line in said.lines)


@pytest.mark.parametrize("perform", [train, sweep])
def test_an_empty_folder_is_told_in_the_same_words(
    perform: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKALIKE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    request = TrainRequest("empty") if perform is train else SweepRequest(("empty",))
    with pytest.raises(LookalikeError) as refused:
        perform(request, settings.load(), _Said())
    assert refused.value.message == f"{tmp_path / 'empty'} is empty"
