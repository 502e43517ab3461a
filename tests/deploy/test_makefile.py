"""What `make` hands on to the programs that it starts, and what it installs for them."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "given, handed_on",
    [
        ([], []),
        (["ONCE=1"], ["--once"]),
        (["ONCE=0"], []),
        (["PHOTOS=~/My photos", "ONCE=1"], ["--photos", "HOME/My photos", "--once"]),
        (["PHOTOS=~"], ["--photos", "HOME"]),
        (["PHOTOS=/a b/$$(c)'d"], ["--photos", "/a b/$(c)'d"]),
    ],
)
def test_make_demo_takes_photos_and_once(given: list[str], handed_on: list[str], tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text('#!/bin/sh\nfor word; do printf "%s\\n" "$word"; done\n')
    program.chmod(0o755)
    make = ["make", "--no-print-directory", "-f", str(ROOT / "Makefile"), "demo", "SERVING=", f"BIN={tmp_path}"]
    surroundings = {"PATH": os.environ["PATH"], "HOME": "HOME"}
    ended = subprocess.run([*make, *given], cwd=tmp_path, env=surroundings, capture_output=True, text=True, timeout=30)
    assert ended.stdout.splitlines() == ["-P", "-m", "deploy.cli", "demo", *handed_on], ended.stderr


def would_run(*arguments: str) -> str:
    """The commands of a target, none of which is carried out."""
    make = ["make", "--no-print-directory", "--always-make", "--dry-run", "-f", str(ROOT / "Makefile"), *arguments]
    surroundings = {"PATH": os.environ["PATH"]}  # nothing of the `make test` that may have started this
    ended = subprocess.run(make, cwd=ROOT, env=surroundings, capture_output=True, text=True, check=True, timeout=30)
    return ended.stdout


@pytest.mark.parametrize(
    ("target", "installed"),
    [("demo", ["[worker,embedded,raw]"]), ("train", ["[worker,embedded,raw]", "[all]"])],
)
def test_each_target_installs_what_it_is_for(target: str, installed: list[str]) -> None:
    assert re.findall(r"-e '\.(\[.*?\])'", would_run(target)) == installed
    assert "--group dev" not in would_run(target)
    assert "--group dev" in would_run("test")


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ([], "OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n logical --maxprocesses 2"),
        (["ARGS=tests/ml -k recall"], ".venv/bin/python -m pytest tests/ml -k recall"),
    ],
)
def test_all_tests_run_in_two_processes_and_some_in_one(arguments: list[str], command: str) -> None:
    assert would_run("test", *arguments).splitlines()[-1] == command
