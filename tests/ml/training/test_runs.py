"""Runs on disk: found again, set aside and never deleted, held, and compared when there is nothing to resume."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ml.data.datasets import Dataset
from ml.errors import LookalikeError
from ml.files import held
from ml.training import checkpoints
from ml.training.runs import Run, difference
from tests.ml.conftest import quick

DATA = Dataset("My photos", (Path("a"), Path("b")), np.array([0, 1]), ("x", "y"), ("1", "2"))


def _unfinished(tmp_path, config):
    run = Run.of(config, DATA, tmp_path)
    run.write_config(config, DATA, ["a note"])
    modules = nn.ModuleDict({"network": nn.Linear(2, 2)})
    optimizer = torch.optim.AdamW(modules.parameters())
    checkpoints.save(run.directory / "checkpoints", 3, [], modules, optimizer)
    return run


def test_checkpoints_of_an_unfinished_run_are_set_aside(tmp_path):
    for number in (1, 2):
        run = _unfinished(tmp_path, quick())
        said = run.begin_anew()
        assert said is not None and "3 epochs" in said and f"{run.name}.{number}" in said
        assert checkpoints.latest(tmp_path / f"{run.name}.{number}" / "checkpoints") is not None
        assert not run.directory.exists()
    assert run.begin_anew() is None


def test_the_model_of_a_finished_run_is_set_aside_and_told(tmp_path: Path) -> None:
    run = Run.of(quick(), DATA, tmp_path)
    model = run.directory / "model" / "model.json"
    model.parent.mkdir(parents=True)
    model.write_text("{}")
    said = run.begin_anew()
    assert said is not None and f"with its model, as {tmp_path / run.name}.1" in said
    assert (tmp_path / f"{run.name}.1" / "model" / "model.json").exists() and not run.directory.exists()


def test_what_differs_from_the_nearest_run_is_said(tmp_path):
    _unfinished(tmp_path, quick())
    _unfinished(tmp_path, quick(epochs=9, dim=64, temperature=0.2))
    said = difference(quick(lr=0.5), DATA, tmp_path)
    assert said is not None and "differs in lr (0.0001 there)" in said and "epochs" not in said
    assert difference(quick(), DATA, tmp_path) is None
    assert "the photos" in (difference(quick(), replace(DATA, sha256=("1", "3")), tmp_path) or "")
    assert difference(quick(), DATA, tmp_path / "elsewhere") is None


def test_notes_are_kept_with_the_config(tmp_path):
    run = _unfinished(tmp_path, quick())
    assert '"a note"' in (run.directory / "config.json").read_text()


def test_what_a_process_held_is_free_when_it_is_killed(tmp_path: Path) -> None:
    holds = """
import pathlib, sys
from ml.errors import LookalikeError
from ml.files import held
with held(pathlib.Path(sys.argv[1]), LookalikeError("no")):
    print("held", flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", holds, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdout.readline() == b"held\n"
        with pytest.raises(LookalikeError, match="busy"), held(tmp_path / "lock", LookalikeError("busy")):
            pass
        other.kill()
    with held(tmp_path / "lock", LookalikeError("busy")):
        pass


def test_work_in_a_folder_without_a_lock_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with held(tmp_path / "file" / "lock", LookalikeError("busy")):
        pass
