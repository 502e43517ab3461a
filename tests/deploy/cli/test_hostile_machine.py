"""On a machine that refuses something, every command ends with one line that says what, and a hint what to do.

The program runs as a person runs it, as a process of its own. `unexpected` in what it says would be a defect.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from deploy.cli.__main__ import run
from deploy.cli.console import Console
from tests.file_systems import can_mount, read_only_within, run_within

needs_mount = pytest.mark.skipif(not can_mount(), reason="file systems cannot be mounted here")
PROGRAM = [sys.executable, "-P", "-m", "deploy.cli"]
COMMANDS = [
    ["up", "--port", "0"],
    ["status", "--json"],
    ["index", "{photos}"],
    ["search", "{photo}"],
    ["verify"],
    ["backup", "{home}/elsewhere"],
    ["demo", "--once"],
    ["train", "{photos}", "--epochs", "1"],
    ["sweep", "{photos}", "--trials", "1"],
]
# A sweep starts Ray first, which takes long: once is enough.
by_all_but_sweep = pytest.mark.parametrize("arguments", COMMANDS[:-1], ids=lambda arguments: arguments[0])
everywhere = pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def filled(arguments: list[str], home: Path, photos: Path) -> list[str]:
    photo = next(photos.rglob("*.jpg"))
    return [*PROGRAM, *(each.format(home=home, photos=photos, photo=photo) for each in arguments)]


def refusal(ended: "subprocess.CompletedProcess[str]") -> str:
    """The line that says what was refused, checked for its form."""
    assert ended.returncode == 1, (ended.returncode, ended.stdout, ended.stderr)
    assert ended.stdout == ""
    lines = ended.stderr.strip().split("\n")
    assert not any("unexpected" in line or "Traceback" in line for line in lines), ended.stderr
    assert lines[-2].startswith("error: "), ended.stderr
    assert lines[-1].startswith("hint: "), ended.stderr
    return lines[-2]


@everywhere
@needs_mount
def test_a_home_that_cannot_be_written(arguments: list[str], home: Path, demo_photos: Path) -> None:
    ended = read_only_within(home, filled(arguments, home, demo_photos), {"LOOKALIKE_HOME": str(home)})
    assert "Read-only file system" in refusal(ended)


@by_all_but_sweep
@needs_mount
def test_a_home_from_before_that_cannot_be_written(arguments: list[str], home: Path, demo_photos: Path) -> None:
    for name in ("run", "logs", "storage", "runs", "sweeps", "cache", "demo-photos"):
        (home / name).mkdir()
    for name in ("supervisor", "stack", "attached"):
        (home / "run" / f"{name}.lock").touch()
    ended = read_only_within(home, filled(arguments, home, demo_photos), {"LOOKALIKE_HOME": str(home)})
    assert "Read-only file system" in refusal(ended)


@by_all_but_sweep
@needs_mount
def test_a_home_on_a_full_disk(arguments: list[str], home: Path, demo_photos: Path) -> None:
    ended = run_within(home, "size=16k", filled(arguments, home, demo_photos), {"LOOKALIKE_HOME": str(home)})
    line = refusal(ended)
    assert "No space left on device" in line or "disk is full" in line


@everywhere
def test_a_user_without_a_home(
    arguments: list[str],
    home: Path,
    demo_photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def nobody(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr("pwd.getpwuid", nobody)
    for name in ("HOME", "LOOKALIKE_HOME"):
        monkeypatch.delenv(name, raising=False)
    status = run(filled(arguments, home, demo_photos)[len(PROGRAM) :], Console())
    ended = subprocess.CompletedProcess(arguments, status, *capsys.readouterr())
    assert "HOME is not set" in refusal(ended)
