"""`lookalike sweep`, as a person types it, and as a machine that loses power runs it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from deploy.cli.__main__ import run
from deploy.cli.console import Console
from deploy.cli.sweep import _show

QUICK = ["--epochs", "2", "--train-px", "64", "--test-px", "64", "--dim", "32"]
GRID = ["--grid", "lr=1e-4,2e-4,3e-4,4e-4", "--grid", "head=none", "--scheduler", "none"]


def _command(home: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"LOOKALIKE_HOME": str(home), "TERM": "dumb", "OMP_NUM_THREADS": "2"}
    return subprocess.Popen(
        [sys.executable, "-m", "deploy.cli", "sweep", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _trials(home: Path) -> dict[str, dict]:
    for file in home.glob("sweeps/*/trials.json"):
        return {trial["id"]: trial for trial in json.loads(file.read_text())["trials"]}
    return {}


def _descendants(pid: int) -> set[int]:
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found, fresh = set(), {pid}
    while fresh:
        fresh = {child for child, parent in parents.items() if parent in fresh} - found
        found |= fresh
    return found


def _living(pids: set[int]) -> set[int]:
    def is_living(pid: int) -> bool:
        try:
            return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    return {pid for pid in pids if is_living(pid)}


@pytest.mark.timeout(600)
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_a_killed_sweep_goes_on_and_repeats_no_finished_trial(demo_photos, tmp_path):
    first = _command(tmp_path, str(demo_photos), *QUICK, *GRID, "--json")
    deadline = time.monotonic() + 250
    while not (done := {id: t for id, t in _trials(tmp_path).items() if t["state"] == "done"}):
        assert first.poll() is None, first.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    family = _descendants(first.pid)
    first.kill()
    first.communicate(timeout=60)
    while left := _living(family):
        assert time.monotonic() < deadline, f"processes were left behind: {left}"
        time.sleep(0.1)

    (name,) = [path.name for path in (tmp_path / "sweeps").iterdir()]
    again = _command(tmp_path, "--resume", name, "--json")
    out, err = again.communicate(timeout=250)
    assert again.returncode == 0, err
    found = json.loads(out)
    assert {trial["state"] for trial in found["trials"]} == {"done"} and len(found["trials"]) == 4
    after = {trial["id"]: trial for trial in found["trials"]}
    assert all(after[id] == trial for id, trial in done.items()), "a finished trial ran again"
    assert set(found["best"]["settings"]) == {"lr", "head"}
    assert found["ranking"][0]["settings"] == found["best"]["settings"]
    assert [each["map@r"] for each in found["ranking"]] == sorted(
        (t["map_at_r"] for t in found["trials"]), reverse=True
    )
    assert Path(found["report"]).exists() and Path(found["report"]).with_suffix(".png").exists()
    assert (tmp_path / "storage" / "models" / found["model"]).is_dir()
    assert found["name"] == name


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["/nowhere"], 1, "there is no /nowhere"),
        (["--grid", "speed=1,2"], 1, "there is no hyper-parameter 'speed'"),
        (["--grid", "lr="], 1, "names no values"),
        (["--grid", "lr=1e-4..1e-2", "--search", "grid"], 1, "a grid needs values"),
        (["--resume", "nothing"], 1, "there is no sweep 'nothing'"),
        (["--resume", "../x"], 1, "is not the name of a run"),
        (["--scheduler", "sometimes"], 2, "sometimes"),
    ],
)
def test_wrong_use_is_said_before_anything_is_done(arguments, status, message, demo_photos, tmp_path, monkeypatch):
    monkeypatch.setenv("LOOKALIKE_HOME", str(tmp_path))
    with CliRunner().isolation() as (_, errors, *_):
        assert run(["sweep", str(demo_photos), *arguments], Console()) == status
        assert message in errors.getvalue().decode()
    assert not list(tmp_path.glob("sweeps/*/trials.json"))


def test_the_table_of_settings_shows_means_and_which_went_to_the_end(capsys):
    ranking = [
        {"settings": {"lr": 0.001}, "map@r": 0.928, "epoch": None, "done": 3, "planned": 3},
        {"settings": {"lr": 0.0001}, "map@r": 0.95, "epoch": 3, "done": 1, "planned": 3},
        {"settings": {"lr": 1.0}, "map@r": None, "epoch": 0, "done": 0, "planned": 3},
    ]
    best = {"settings": {"lr": 0.001}, "map@r": 0.9, "selected_by_map@r": 0.928, "repeats": 3}
    _show(Console(), {"best": best, "ranking": ranking, "report": "r.html", "model": "m"})
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["lr=0.001", "92.8", "3", "of", "3"]
    assert "95.0 (epoch 3)" in lines[2] and "1 of 3" in lines[2]
    assert "best: lr=0.001" in lines
