"""What `make demo` hands on to `lookalike demo`."""

import os
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
