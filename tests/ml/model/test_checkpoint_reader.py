"""Checkpoints read without torch: what torch wrote comes back, and anything but the pinned tensors is refused."""

import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ml.model.checkpoint_reader import BadCheckpoint, read_checkpoint


def write(path: Path, content: Any) -> str:
    """Saves in torch's format before 1.6 and returns the SHA-256."""
    torch.save(content, path, _use_new_zipfile_serialization=False)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_tensors_come_back_as_torch_saved_them(tmp_path):
    shared = torch.arange(24, dtype=torch.float32)
    state = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3)).state_dict()
    state |= {"strided": torch.randn(4, 3, 2).permute(2, 0, 1), "tail": shared[20:], "whole": shared.view(4, 6)}
    digest = write(tmp_path / "weights.pth", state)
    tensors = read_checkpoint(tmp_path / "weights.pth", digest)
    assert list(tensors) == list(state)
    for name, expected in state.items():
        assert tensors[name].dtype == expected.numpy().dtype
        np.testing.assert_array_equal(tensors[name], expected.numpy())


def test_another_file_is_refused_before_anything_is_parsed(tmp_path):
    write(tmp_path / "weights.pth", {"weight": torch.zeros(1)})
    with pytest.raises(BadCheckpoint, match="expected 00000000"):
        read_checkpoint(tmp_path / "weights.pth", "0" * 64)
    with pytest.raises(BadCheckpoint, match="No such file"):
        read_checkpoint(tmp_path / "absent.pth", "0" * 64)


class Hostile:
    """Unpickled by a reader that trusts its input, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def test_code_in_a_pickle_does_not_run(tmp_path):
    digest = write(tmp_path / "weights.pth", {"weight": torch.zeros(1), "payload": Hostile(tmp_path / "made")})
    with pytest.raises(BadCheckpoint, match=r"mkdir, which is no tensor"):
        read_checkpoint(tmp_path / "weights.pth", digest)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "content",
    [{"weight": torch.zeros(1), "epoch": 3}, torch.zeros(3), [torch.zeros(1)], {"half": torch.zeros(2).half()}],
    ids=["number", "bare tensor", "list", "half precision"],
)
def test_anything_but_plain_tensors_is_refused(tmp_path, content):
    digest = write(tmp_path / "weights.pth", content)
    with pytest.raises(BadCheckpoint, match="no checkpoint of plain tensors"):
        read_checkpoint(tmp_path / "weights.pth", digest)


@pytest.mark.parametrize("kept", [0, 10, 200, -1])
def test_a_truncated_file_is_refused(tmp_path, kept):
    path = tmp_path / "weights.pth"
    write(path, {"weight": torch.zeros(100)})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(BadCheckpoint):
        read_checkpoint(path, hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_tensor_outside_of_its_storage_is_refused(tmp_path):
    """As a file could claim that torch never wrote: the last of three numbers, and one after it."""
    path = tmp_path / "weights.pth"
    write(path, {"weight": torch.zeros(3)})
    data = path.read_bytes()
    storage_offset_and_shape = b"K\x00K\x03\x85"
    assert data.count(storage_offset_and_shape) == 1
    path.write_bytes(data.replace(storage_offset_and_shape, b"K\x02K\x02\x85"))
    with pytest.raises(BadCheckpoint, match="outside of its storage"):
        read_checkpoint(path, hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_plain_pickle_is_refused(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps({"weight": [1.0]}))
    with pytest.raises(BadCheckpoint):
        read_checkpoint(path, hashlib.sha256(path.read_bytes()).hexdigest())
