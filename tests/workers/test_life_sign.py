"""An orchestrator's probe asks the process alone: nothing that is away gets a worker killed."""

import os
import subprocess
import sys
from pathlib import Path

from tests.processes import wait_for
from workers import life_sign
from workers.life_sign import LONGEST_SILENCE_S, LifeSign, problem


def probe(home: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "workers.life_sign"]
    environment = {**os.environ, "LOOKALIKE_HOME": str(home), "LOOKALIKE_REDIS_URL": "redis://127.0.0.1:1/0"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[2])


def test_a_worker_that_runs_is_alive_though_its_queue_is_away(tmp_path: Path) -> None:
    sign = LifeSign(tmp_path)
    assert probe(tmp_path).returncode == 0
    sign.close()
    gone = probe(tmp_path)
    assert gone.returncode == 1
    assert "nothing has given a sign of life" in gone.stderr


def test_one_that_is_stopped_is_not(tmp_path: Path) -> None:
    sign = LifeSign(tmp_path)
    (file,) = (tmp_path / "run").glob("*.alive")
    long_ago = file.stat().st_mtime - LONGEST_SILENCE_S - 1
    os.utime(file, (long_ago, long_ago))
    assert "no sign of life for 6" in problem(tmp_path)
    sign.close()


def test_one_that_lives_and_consumes_nothing_says_so_itself(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(life_sign, "_TOUCHED_S", 0.01)
    sign = LifeSign(tmp_path)
    sign.stuck = "no task of queue search was finished for 130 s"
    wait_for(lambda: problem(tmp_path) == sign.stuck)
    sign.close()


def test_a_sign_that_is_taken_away_while_it_is_looked_at_does_not_matter(tmp_path: Path, monkeypatch) -> None:
    """Of two workers one ends while the other one starts, or a probe looks."""
    sign = LifeSign(tmp_path)
    gone = tmp_path / "run" / "1.alive"
    glob = Path.glob
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: [gone, *glob(folder, pattern)])
    assert problem(tmp_path) == ""
    LifeSign(tmp_path).close()
    assert problem(tmp_path) != ""
    sign.close()


def test_signs_of_workers_that_were_killed_are_swept(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    left = tmp_path / "run" / "1.alive"
    left.touch()
    os.utime(left, (0, 0))
    LifeSign(tmp_path).close()
    assert not left.exists()
