"""What cannot be had on a machine is told, soon, and as what it is: no fault of ours. Nothing here needs an engine."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.containers import machine
from tests.containers.deadline import Deadline
from tests.containers.engine import Engine, NoEngine


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that comes first on the path; no engine answers there, and installing one does nothing."""
    folder = tmp_path / "programs"
    folder.mkdir()
    _write(folder / "docker", "exit 1")
    for name in ("dockerd", "iptables"):
        _write(folder / name, "exit 0")
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(machine, "HOME", tmp_path / "engine")
    monkeypatch.setattr(machine, "LOG", tmp_path / "engine" / "dockerd.log")
    monkeypatch.setattr(machine, "_WANTED_GB", 0)
    monkeypatch.setattr(machine.os, "geteuid", lambda: 0)
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 2)
    monkeypatch.setenv("CI", "true")
    return folder


def _write(program: Path, text: str) -> None:
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)


def test_a_kernel_that_runs_no_engine_is_told_with_the_last_words_of_the_engine(programs: Path) -> None:
    _write(programs / "dockerd", "echo 'failed to mount cgroup' >&2; exit 1")
    with (
        pytest.raises(NoEngine, match="this kernel runs no engine: failed to mount cgroup"),
        machine.engine_with_base_images(Deadline(60)),
    ):
        pass


def test_an_engine_that_never_answers_is_given_up_and_stopped(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_STARTED_S", 0.5)
    _write(programs / "dockerd", f"echo $$ > {tmp_path}/pid; exec sleep 600")
    with (
        pytest.raises(NoEngine, match="this kernel runs no engine"),
        machine.engine_with_base_images(Deadline(60)),
    ):
        pass
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_base_images_that_cannot_be_made_are_told(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "base-images.sh"
    monkeypatch.setattr(machine, "BASE_IMAGES", script)
    engine = Engine({}, has_stand_ins=True)
    _write(script, "echo 'no mirror answers'; exit 7")
    with pytest.raises(NoEngine, match=r"status 7\): no mirror answers"):
        machine._make_base_images(engine, Deadline(60))
    _write(script, "sleep 600")
    with pytest.raises(NoEngine, match="status none after 1 s"):
        machine._make_base_images(engine, Deadline(1))


def test_what_making_base_images_leaves_running_keeps_nobody_waiting(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "base-images.sh"
    monkeypatch.setattr(machine, "BASE_IMAGES", script)
    _write(script, f"sleep 60 & echo $! > {tmp_path}/pid")
    began = time.monotonic()
    machine._make_base_images(Engine({}, has_stand_ins=True), Deadline(60))
    assert time.monotonic() - began < 30
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
