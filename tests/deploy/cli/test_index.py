"""What `lookalike index` says before it copies much."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deploy.cli import index as command
from deploy.cli.__main__ import run
from deploy.cli.console import Console
from workers.messages import JobStatus

DONE = JobStatus("index-1", "index", "done", 1, 1, 1, 0, 0, 1.0)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs the command on a folder with one file of the size that is given, and returns what it says."""

    @contextlib.contextmanager
    def connect(settings: object, say: object) -> Iterator[Any]:
        yield SimpleNamespace(storage_url=f"file://{tmp_path}/home/storage")

    monkeypatch.setattr("deploy.local.connection.connect", connect)
    monkeypatch.setattr("workers.client.Client", lambda settings: SimpleNamespace(suggestions=list))
    monkeypatch.setattr("deploy.cli.upload_folder.index", lambda *_, **__: DONE)

    def told(size: int, capsys: pytest.CaptureFixture[str], *options: str) -> str:
        (tmp_path / "photos").mkdir()
        with (tmp_path / "photos" / "1.jpg").open("wb") as file:
            file.truncate(size)
        assert run(["index", str(tmp_path / "photos"), *options], Console()) == 0
        return capsys.readouterr().err

    return told


def test_what_is_to_be_copied_is_said_when_it_is_much(told: Any, capsys: pytest.CaptureFixture[str]) -> None:
    line = told(1_500_000_000, capsys)
    assert "copying up to 1.5 GB" in line
    assert "GB are free" in line
    assert "--in-place leaves photos where they are" in line


@pytest.mark.parametrize("size, options", [(900_000_000, ()), (1_500_000_000, ("--in-place",))])
def test_little_or_nothing_is_copied_without_a_word(
    told: Any, capsys: pytest.CaptureFixture[str], size: int, options: tuple[str, ...]
) -> None:
    assert "copying" not in told(size, capsys, *options)


def test_a_bucket_is_named() -> None:
    assert command.announcement(2_000_000_000, "s3://photos/gallery") == "copying up to 2.0 GB to s3://photos/gallery"
