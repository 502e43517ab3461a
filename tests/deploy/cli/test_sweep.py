"""`lookalike sweep`, as a person types it, and as a machine that loses power runs it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from deploy.cli.__main__ import run
from deploy.cli.console import Console
from deploy.cli.models import publish_and_show
from deploy.cli.sweep import _show
from deploy.cli.sweep_table import Table
from ml.sweeps.plan import SweepPlan
from ml.sweeps.record import Record, Trial
from ml.sweeps.search_space import Choice
from ml.training.config import preset_config
from workers import settings

QUICK = ["--epochs", "2", "--train-px", "64", "--test-px", "64", "--dim", "32"]
GRID = ["--grid", "lr=1e-4,2e-4,3e-4", "--grid", "head=none", "--scheduler", "none"]


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `lookalike sweep`. What still runs when the test ends is killed, and its Ray ends with it."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        environment = os.environ | {"LOOKALIKE_HOME": str(tmp_path), "TERM": "dumb", "OMP_NUM_THREADS": "2"}
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "deploy.cli", "sweep", *arguments],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        with process:
            process.kill()


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


@pytest.mark.timeout(900)
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_a_killed_sweep_goes_on_and_repeats_no_finished_trial(command, demo_photos, tmp_path):
    first = command(str(demo_photos), *QUICK, *GRID, "--json")
    deadline = time.monotonic() + 400
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
    again = command("--resume", name, "--json")
    out, err = again.communicate(timeout=400)
    assert again.returncode == 0, err
    found = json.loads(out)
    assert {trial["state"] for trial in found["trials"]} == {"done"} and len(found["trials"]) == 3
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
        (["--grid", "loss=normsoftmax,supconn"], 1, "loss must be one of"),
        (["--grid", "loss=normsoftmax,losses:Mine"], 1, "loss losses:Mine cannot be imported"),
        (["--grid", "lr=1e-4,-1"], 1, "lr must be > 0"),
        (["--grid", "train_px=48..50000"], 1, "train_px must be in 32..1024"),
        (["--grid", "lr=1e-4,1e-3", "--set", "lr=1e-3"], 1, "lr is set, and to be searched"),
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
        {"settings": {"lr": 0.001}, "map@r": 0.928, "deviation": 0.02, "epoch": None, "done": 3, "planned": 3},
        {"settings": {"lr": 0.0001}, "map@r": 0.95, "deviation": None, "epoch": 3, "done": 1, "planned": 3},
        {"settings": {"lr": 1.0}, "map@r": None, "deviation": None, "epoch": 0, "done": 0, "planned": 3},
    ]
    best = {"settings": {"lr": 0.001}, "map@r": 0.9, "selected_by_map@r": 0.928, "repeats": 3, "held_out": "images"}
    facts = {"best": best, "ranking": ranking, "report": "r.html", "model": "m", "is_worse": True}
    facts["level"] = [{"lr": 0.002}]
    facts["trials"] = [{"state": "done", "reason": ""}, {"state": "failed", "reason": "no memory"}]
    publish_and_show(Console(), settings.load({}), facts, _show, publish=False)
    first, *lines = capsys.readouterr().out.splitlines()
    assert "NO BETTER THAN AN UNTRAINED ONE" in first
    assert lines[-1] == "make it answer all the same: lookalike publish m --force"
    assert lines[1].split() == ["lr=0.001", "92.8", "2.0", "3", "of", "3"]
    assert "95.0 (epoch 3)" in lines[2] and "1 of 3" in lines[2]
    assert "best: lr=0.001" in lines
    assert "no better for sure than lr=0.002: the means differ by no more than their standard error" in lines
    assert "1 of 2 trials failed, the first because no memory" in lines
    assert "measured anew on other held-out photos of the same classes: mAP@R 90.0" in lines


def test_a_trial_that_goes_on_is_told_again_under_its_number(tmp_path, capsys):
    plan = SweepPlan({"lr": Choice((1e-4, 2e-4))}, preset_config("accurate"), trials=2)
    first, second = (Trial(character * 10, {"lr": lr}, 0, "photos") for character, lr in (("a", 1e-4), ("b", 2e-4)))
    record = Record(tmp_path, plan.to_json(), {first.id: first, second.id: second})
    with Table(Console(), plan) as table:
        first.history, first.state = [{"epoch": 1, "map_at_r": 0.4}], "pruned"
        table.show(record)
        second.state, second.reason = "failed", "no"
        table.show(record)
        first.state = "running"
        table.show(record)
        first.state, first.map_at_r = "done", 0.9
        first.history += [{"epoch": 2, "map_at_r": 0.5}]
        table.show(record)
        table.show(record)
    _, cut, failed, done = capsys.readouterr().err.splitlines()
    assert cut.startswith("trial 1 of 2  lr=0.0001  pruned after epoch 1  mAP@R 40.0")
    assert failed.startswith("trial 2 of 2  lr=0.0002  failed: no")
    assert done.startswith("trial 1 of 2  lr=0.0001  done  mAP@R 90.0")
