"""Bundles of format 1, which held torch's weights alone: converted where that can be done, and otherwise refused."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch_file

from ml.errors import BadBundle
from ml.model import embedder, upgrade
from ml.model.bundle import Bundle, OldBundle, sha256_of
from ml.model.network import EmbeddingModel, from_bundle
from ml.model.registry import Registry
from ml.model.upgrade import load_bundle
from ml.model.writer import golden_jpeg, golden_pixels
from ml.preprocessing import Preprocessing

ROOT = Path(__file__).parents[3]
SMALL = Preprocessing(32, 40, "squash", "bilinear", (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), True)


def write_format_1(folder: Path, backbone: str) -> np.ndarray:
    """As Lookalike wrote it before bundles held ONNX. Returns the golden vector."""
    torch.manual_seed(0)
    model = EmbeddingModel(backbone, SMALL, dim=8, layer_norm=True, bias=True).eval()
    folder.mkdir(parents=True)
    save_torch_file(model.state_dict(), folder / "model.safetensors")
    (folder / "golden.jpg").write_bytes(golden_jpeg())
    pixels = golden_pixels(SMALL)
    with torch.inference_mode():
        embedding = model(torch.from_numpy(pixels[None]))[0].numpy()
    save_file({"pixels": pixels, "embedding": embedding}, folder / "golden.safetensors")
    facts = {
        "format": 1,
        "name": "old",
        "backbone": backbone,
        "dim": 8,
        "head": {"projection": True, "bias": True, "layer_norm": True},
        "preprocessing": SMALL.to_json(),
        "metrics": {"map@r": 0.5},
        "lineage": {"data": "none"},
        "threshold": 0.7,
        "files": {name: sha256_of(folder / name) for name in ("model.safetensors", "golden.jpg", "golden.safetensors")},
    }
    (folder / "model.json").write_text(json.dumps(facts))
    return embedding


@pytest.mark.parametrize("backbone", ["resnet10t", "tf_efficientnet_lite0"])
def test_an_old_model_is_converted_when_it_is_loaded(tmp_path, backbone):
    vector = write_format_1(tmp_path / "old", backbone)
    with pytest.raises(OldBundle, match="a model of an older Lookalike"):
        Bundle.load(tmp_path / "old")
    bundle = load_bundle(tmp_path / "old")
    assert (bundle.name, bundle.threshold) == ("old", 0.7)
    assert (bundle.metrics, bundle.lineage) == ({"map@r": 0.5}, {"data": "none"})
    assert bundle.network is not None and not (tmp_path / "old" / "model.safetensors").exists()
    np.testing.assert_allclose(bundle.golden()[2], vector, atol=1e-5)
    with torch.inference_mode():
        again = from_bundle(bundle)(torch.from_numpy(bundle.golden()[0][None]))[0].numpy()
    np.testing.assert_allclose(again, vector, atol=1e-5)
    embedder.load(tmp_path / "old", device="cpu")
    upgrade.upgrade(tmp_path / "old")  # a second time does nothing
    assert Bundle.load(tmp_path / "old").sha256 == bundle.sha256


def test_a_registered_old_model_is_listed_and_converted_when_it_is_fetched(tmp_path):
    write_format_1(tmp_path / "models" / "old", "tf_efficientnet_lite0")
    registry = Registry((tmp_path / "models").as_uri())
    (record,) = registry.models()
    assert (record.name, record.dim) == ("old", 8)
    assert embedder.load(registry.fetch("old", tmp_path / "cache"), device="cpu").dim == 8
    assert registry.record("old").sha256 != record.sha256


def blocked(statement: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a statement where torch and timm cannot be found."""
    code = (
        "import sys, importlib.util; real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name in ('torch', 'timm') else real(name, *rest)\n"
        f"sys.modules.update(torch=None, timm=None, torchvision=None); from pathlib import Path; {statement}"
    )
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)


def test_without_torch_the_default_backbone_is_converted_and_others_are_refused(tmp_path):
    load = "from ml.model.upgrade import load_bundle; load_bundle(Path(sys.argv[1]))"
    write_format_1(tmp_path / "lite0", "tf_efficientnet_lite0")
    done = blocked(load, str(tmp_path / "lite0"))
    assert done.returncode == 0, done.stderr
    write_format_1(tmp_path / "other", "resnet10t")
    refused = blocked(load, str(tmp_path / "other"))
    assert "converting it needs training's packages" in refused.stderr
    assert f"python -m ml.model.upgrade {tmp_path / 'other'}" in refused.stderr
    assert (tmp_path / "other" / "model.safetensors").exists()


def test_the_command_of_the_hint_converts(tmp_path):
    write_format_1(tmp_path / "old", "resnet10t")
    subprocess.run([sys.executable, "-m", "ml.model.upgrade", str(tmp_path / "old")], cwd=ROOT, check=True)
    assert json.loads((tmp_path / "old" / "model.json").read_text())["format"] == 2


@pytest.mark.parametrize("damage", ["weights", "vector"])
def test_a_damaged_old_model_is_refused_and_left_as_it_is(tmp_path, damage):
    folder = tmp_path / "old"
    vector = write_format_1(folder, "tf_efficientnet_lite0")
    if damage == "weights":
        (folder / "model.safetensors").write_bytes(b"")
    else:
        save_file({"pixels": golden_pixels(SMALL), "embedding": np.roll(vector, 1)}, folder / "golden.safetensors")
        facts = json.loads((folder / "model.json").read_text())
        facts["files"]["golden.safetensors"] = sha256_of(folder / "golden.safetensors")
        (folder / "model.json").write_text(json.dumps(facts))
    with pytest.raises(BadBundle, match="not what was saved" if damage == "weights" else "another vector"):
        load_bundle(folder)
    assert json.loads((folder / "model.json").read_text())["format"] == 1
