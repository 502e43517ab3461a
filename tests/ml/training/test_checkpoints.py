"""Checkpoints are there whole or not at all."""

import errno
import json

import pytest
import torch
from torch import nn

from ml.training import checkpoints
from ml.training.checkpoints import TrainingFailed


def _trained(steps=3):
    torch.manual_seed(0)
    modules = nn.ModuleDict({"network": nn.Linear(4, 3), "loss": nn.Linear(3, 2)})
    optimizer = torch.optim.AdamW(modules.parameters(), lr=0.1)
    for _ in range(steps):
        modules["loss"](modules["network"](torch.ones(2, 4))).sum().backward()
        optimizer.step()
    return modules, optimizer


def test_weights_and_moments_come_back(tmp_path):
    modules, optimizer = _trained()
    checkpoints.save(tmp_path, 3, [{"epoch": 3}], modules, optimizer)
    found = checkpoints.latest(tmp_path)
    other, fresh = _trained(0)
    found.restore(other, fresh)
    assert found.epoch == 3 and found.history == [{"epoch": 3}]
    for key, value in modules.state_dict().items():
        assert torch.equal(other.state_dict()[key], value)
    theirs, ours = optimizer.state_dict()["state"], fresh.state_dict()["state"]
    for number, entries in theirs.items():
        for name, value in entries.items():
            torch.testing.assert_close(ours[number][name], torch.as_tensor(value))


def test_the_last_two_are_kept(tmp_path):
    modules, optimizer = _trained()
    for epoch in range(1, 5):
        checkpoints.save(tmp_path, epoch, [], modules, optimizer)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-0003", "epoch-0004"]


@pytest.mark.parametrize("damage", ["state.safetensors", "progress.json"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path, damage):
    modules, optimizer = _trained()
    for epoch in (1, 2):
        checkpoints.save(tmp_path, epoch, [], modules, optimizer)
    file = tmp_path / "epoch-0002" / damage
    file.write_bytes(file.read_bytes()[:-20])
    assert checkpoints.latest(tmp_path).epoch == 1


def test_a_full_disk_is_said_and_the_last_good_checkpoint_stays(tmp_path, monkeypatch):
    modules, optimizer = _trained()
    checkpoints.save(tmp_path, 1, [], modules, optimizer)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(TrainingFailed, match="the disk is full") as caught:
        checkpoints.save(tmp_path, 2, [], modules, optimizer)
    assert "--resume" in caught.value.hint
    assert checkpoints.latest(tmp_path).epoch == 1
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-0001"]


def test_another_runs_checkpoint_is_refused(tmp_path):
    modules, optimizer = _trained()
    checkpoints.save(tmp_path, 1, [], modules, optimizer)
    other = nn.ModuleDict({"network": nn.Linear(5, 3)})
    with pytest.raises(TrainingFailed, match="does not fit this run"):
        checkpoints.latest(tmp_path).restore(other, torch.optim.AdamW(other.parameters()))


def test_nothing_saved_is_nothing_found(tmp_path):
    assert checkpoints.latest(tmp_path / "absent") is None
    (tmp_path / "epoch-0001").mkdir()
    (tmp_path / "epoch-0001" / "progress.json").write_text(json.dumps({"epoch": 1}))
    assert checkpoints.latest(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b'[{"epoch": 1', b"7", b"[3]", b"\xff"])
def test_a_damaged_history_costs_the_curves_alone(tmp_path, content):
    checkpoints.write_history(tmp_path, [{"epoch": 1}])
    assert checkpoints.read_history(tmp_path) == [{"epoch": 1}]
    next(tmp_path.iterdir()).write_bytes(content)
    assert checkpoints.read_history(tmp_path) == []
