"""Weights of the Hugging Face hub, from a cache as the hub's own client lays it out, without any network."""

import json
import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ml.errors import LookalikeError
from ml.model import backbone
from ml.model.network import pretrained

CONFIG = {
    "architecture": "test_vit",
    "num_classes": 0,
    "pretrained_cfg": {
        "input_size": [3, 160, 160],
        "crop_pct": 1.0,
        "crop_mode": "squash",
        "interpolation": "bilinear",
        "mean": [0.1, 0.2, 0.3],
        "std": [1, 1, 1],
        "num_classes": 0,
    },
}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache, empty, of a machine without a network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def _cached(hub: Path, repository: str, *, revision: str = "main") -> Path:
    """The folder of a repository's files, which `revision` names: blobs are linked to in reality, files do as well."""
    folder = hub / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / revision).write_text(COMMIT)
    snapshot = folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True, exist_ok=True)
    (snapshot / "config.json").write_text(json.dumps(CONFIG))
    return snapshot


@pytest.fixture(scope="module")
def source() -> nn.Module:
    return backbone.create("test_vit", 160)


@pytest.mark.parametrize("revision", ["main", "v2"])
def test_a_repository_of_the_hub_gives_weights_and_preprocessing(hub: Path, source: nn.Module, revision: str) -> None:
    save_file(source.state_dict(), _cached(hub, "somebody/tiny", revision=revision) / "model.safetensors")
    model, preprocessing = pretrained("hf-hub:somebody/tiny" + (f"@{revision}" if revision != "main" else ""))
    torch.testing.assert_close(dict(model.backbone.state_dict()), dict(source.state_dict()))
    assert (preprocessing.size_px, preprocessing.fit, preprocessing.interpolation) == (160, "squash", "bilinear")
    assert preprocessing.mean == (0.1, 0.2, 0.3)


def test_a_repository_without_safetensors_gives_its_state_dict(hub: Path, source: nn.Module) -> None:
    torch.save(source.state_dict(), _cached(hub, "somebody/old") / "pytorch_model.bin")
    model, _ = pretrained("hf-hub:somebody/old")
    torch.testing.assert_close(dict(model.backbone.state_dict()), dict(source.state_dict()))


def test_a_name_of_timm_is_found_in_the_cache(hub: Path, source: nn.Module) -> None:
    snapshot = _cached(hub, "timm/test_vit.r160_in1k")
    classifier = {"head.weight": torch.zeros(1000, source.num_features), "head.bias": torch.zeros(1000)}
    save_file(source.state_dict() | classifier, snapshot / "model.safetensors")
    model, _ = pretrained("test_vit.r160_in1k")
    torch.testing.assert_close(dict(model.backbone.state_dict()), dict(source.state_dict()))


class _Evil:
    ran = False

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return setattr, (_Evil, "ran", True)


def test_code_in_a_repository_is_never_run(hub: Path) -> None:
    torch.save({"weight": _Evil()}, _cached(hub, "somebody/evil") / "pytorch_model.bin")
    with pytest.raises(LookalikeError, match="which is no tensor") as refused:
        pretrained("hf-hub:somebody/evil")
    assert not _Evil.ran and "\n" not in refused.value.message


def test_an_architecture_that_timm_lacks_is_named(hub: Path, source: nn.Module) -> None:
    snapshot = _cached(hub, "somebody/other")
    (snapshot / "config.json").write_text(json.dumps(CONFIG | {"architecture": "no_such_network"}))
    save_file(source.state_dict(), snapshot / "model.safetensors")
    with pytest.raises(LookalikeError, match="there is no backbone 'no_such_network'"):
        pretrained("hf-hub:somebody/other")


def test_what_is_not_at_hand_without_a_network_names_the_ways_out(hub: Path) -> None:
    with pytest.raises(LookalikeError, match="hf-hub:somebody/away cannot be downloaded") as refused:
        pretrained("hf-hub:somebody/away")
    assert "\n" not in refused.value.message and "NAME@weights.safetensors" in (refused.value.hint or "")


def test_a_half_download_says_what_is_missing(hub: Path, source: nn.Module) -> None:
    save_file(source.state_dict(), _cached(hub, "somebody/half") / "model.safetensors")
    shutil.rmtree(hub / "models--somebody--half" / "refs")
    with pytest.raises(LookalikeError, match="cannot be downloaded"):
        pretrained("hf-hub:somebody/half")
