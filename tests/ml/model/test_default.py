"""The default model: made without torch, equal to torch's, and only copied at a first start."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ml import images
from ml.model import default, embedder
from ml.model.bundle import Bundle
from ml.model.network import from_bundle, pretrained
from ml.model.registry import DEFAULT_MODEL, Registry

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made where importing torch or timm fails."""
    folder = tmp_path_factory.mktemp("installed")
    code = (
        "import sys; sys.modules.update(torch=None, timm=None, torchvision=None); from pathlib import Path\n"
        "from ml.model import default; default.install(Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT, check=True)
    return folder


def test_it_is_the_network_of_torch(installed):
    bundle = Bundle.load(installed / DEFAULT_MODEL)
    model, preprocessing = pretrained()
    assert bundle.preprocessing == preprocessing
    pixels, _, vector = bundle.golden()
    with torch.inference_mode():
        for network in (model, from_bundle(bundle)):
            np.testing.assert_allclose(network(torch.from_numpy(pixels[None]))[0].numpy(), vector, atol=1e-5)


@pytest.mark.photos
def test_vectors_of_real_photos_are_those_of_torch(installed, grocery):
    """600 photos: cosine within 1e-3, and neighbours as good."""
    bundle = Bundle.load(installed / DEFAULT_MODEL)
    paths = sorted((grocery / "test").rglob("*.jpg"))[::4]
    pixels = np.stack([bundle.preprocessing.apply(images.decode(path.read_bytes(), min_side=320)) for path in paths])
    vectors = embedder.load(bundle.directory, device="cpu", cache_dir=installed / "compiled").embed_arrays(pixels)
    model, _ = pretrained()
    with torch.inference_mode():
        expected = np.concatenate([model(torch.from_numpy(part)).numpy() for part in np.array_split(pixels, 8)])
    assert (vectors * expected).sum(axis=1).mean() >= 1 - 1e-3


def test_a_first_start_copies_it_and_converts_nothing(installed, tmp_path, monkeypatch):
    monkeypatch.setattr(default, "write_default", lambda directory: 1 / 0)
    monkeypatch.setattr("ml.model.openvino_backend._convert", lambda *arguments: 1 / 0)
    monkeypatch.setattr("ml.model.openvino_backend._choose_precision", lambda *arguments: 1 / 0)
    monkeypatch.setattr(default.provide, "__defaults__", (installed,))
    registry = Registry(f"file://{tmp_path}/models")
    assert default.ensure_registered(registry, tmp_path / "work") == DEFAULT_MODEL
    assert embedder.load(registry.fetch(DEFAULT_MODEL, tmp_path), cache_dir=tmp_path / "work" / "compiled").dim == 1280


def test_a_damaged_or_missing_one_is_made_again(installed, tmp_path):
    made = default.provide(tmp_path / "new", tmp_path / "compiled", tmp_path / "missing")
    assert Bundle.load(made).sha256 == Bundle.load(installed / DEFAULT_MODEL).sha256
    (made / "network.onnx").write_bytes(b"")
    assert not default._is_current(tmp_path / "new")
    default.install(tmp_path / "new")
    assert Bundle.load(made).sha256 == Bundle.load(installed / DEFAULT_MODEL).sha256


def test_nothing_that_embeds_imports_torch_or_timm(installed, tmp_path, demo_photos):
    """What a worker on a CPU does at its very first start, with torch and timm out of reach."""
    photo = next(demo_photos.rglob("*.jpg"))
    code = (
        "import sys; sys.modules.update(torch=None, timm=None, torchvision=None); from pathlib import Path\n"
        "from PIL import Image; from ml.model import embedder; from ml.model.registry import Registry\n"
        "from ml.model.default import ensure_registered\n"
        "work = Path(sys.argv[1]); registry = Registry((work / 'models').as_uri())\n"
        "folder = registry.fetch(ensure_registered(registry, work), work)\n"
        "loaded = embedder.load(folder, cache_dir=work / 'compiled')\n"
        "assert loaded.why.startswith('openvino'), loaded.why\n"
        "assert loaded.embed([Image.open(sys.argv[2]).convert('RGB')]).shape == (1, 1280)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path), str(photo)], cwd=ROOT, check=True)
