"""A training that is asked for: what is said and refused before any process is started."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ml.errors import LookalikeError
from tests.ml.conftest import write_image
from workers import settings
from workers.messages import TrainRequest
from workers.trainer.report import Report
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
