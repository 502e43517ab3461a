"""Writing bundles: the network as ONNX beside the torch model, and heads that are replaced without torch."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from ml.errors import BadBundle
from ml.model import embedder, save
from ml.model.bundle import Bundle
from ml.model.head import Head, LinearMap
from ml.model.network import EmbeddingModel, from_bundle
from ml.model.save import save_bundle
from ml.model.writer import replace_head
from ml.preprocessing import Preprocessing

ROOT = Path(__file__).parents[3]
TINY = Preprocessing(32, 32, "squash", "bilinear", (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), False)
RNG = np.random.default_rng(0)


def pixels(count: int, size: int = 32) -> np.ndarray:
    return RNG.integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def tiny(preprocessing: Preprocessing = TINY, backbone: str = "resnet10t") -> EmbeddingModel:
    torch.manual_seed(0)
    return EmbeddingModel(backbone, preprocessing, dim=16, layer_norm=True, bias=True).eval()


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "mirror"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    model = tiny(replace(TINY, mirror=request.param))
    return save_bundle(model, tmp_path_factory.mktemp("models") / "tiny", name="tiny")


@pytest.mark.parametrize("backbone", ["resnet10t", "tf_efficientnet_lite0", "vit_tiny_patch16_224", "convnext_atto"])
def test_the_onnx_network_gives_the_features_of_torch_for_any_number_of_images(backbone):
    size = 224 if backbone.startswith("vit") else 32
    model = tiny(replace(TINY, size_px=size, resize_px=size), backbone)
    session = onnxruntime.InferenceSession(save.to_onnx(model), providers=["CPUExecutionProvider"])
    for count in (1, 3):
        images = pixels(count, size)
        with torch.inference_mode():
            expected = model.features(model.normalise(torch.from_numpy(images))).numpy()
        (actual,) = session.run(["features"], {"pixels": images})
        np.testing.assert_allclose(actual, expected, atol=1e-4 * np.abs(expected).max())


def test_openvino_and_torch_give_the_same_vectors(saved):
    images = pixels(5)
    with torch.inference_mode():
        expected = from_bundle(saved)(torch.from_numpy(images)).numpy()
    vectors = embedder.load(saved.directory, device="cpu").embed_arrays(images)
    assert (vectors * expected).sum(axis=1).min() > 0.99
    np.testing.assert_allclose(saved.load_head()(saved.golden_features()[:, None])[0], saved.golden()[2], atol=1e-6)
    assert len(saved.golden_features()) == 1 + saved.preprocessing.mirror


def test_a_network_that_gives_other_features_than_torch_is_not_saved(tmp_path, monkeypatch):
    other = save.to_onnx(EmbeddingModel("resnet10t", TINY).eval())
    monkeypatch.setattr(save, "to_onnx", lambda model: other)
    with pytest.raises(BadBundle, match="gives other features than torch"):
        save_bundle(tiny(), tmp_path / "model", name="tiny")
    assert not list(tmp_path.iterdir())


def test_a_backbone_that_cannot_be_written_as_onnx_serves_with_torch(tmp_path, monkeypatch, caplog):
    def unsupported(model: EmbeddingModel) -> bytes:
        raise RuntimeError("no operator for it")

    monkeypatch.setattr(save, "to_onnx", unsupported)
    bundle = save_bundle(tiny(), tmp_path / "model", name="tiny")
    assert "no operator for it" in caplog.text
    assert bundle.network is None
    assert embedder.load(bundle.directory, device="cpu").why == "torch f32: the model has no ONNX network"


class TestANewHead:
    def test_the_network_stays_and_the_vectors_follow(self, saved, tmp_path):
        head = Head(False, LinearMap(RNG.normal(size=(9, 512)).astype(np.float32)))
        bundle = replace_head(saved, head, tmp_path / "new", name="new", lineage={"parent": "tiny"}, threshold=0.4)
        assert (bundle.name, bundle.dim, bundle.lineage, bundle.threshold) == ("new", 9, {"parent": "tiny"}, 0.4)
        assert bundle.files["network.onnx"] == saved.files["network.onnx"]
        assert bundle.sha256 != saved.sha256
        images = pixels(4)
        with torch.inference_mode():
            expected = from_bundle(bundle)(torch.from_numpy(images)).numpy()
        vectors = embedder.load(bundle.directory, device="cpu").embed_arrays(images)
        assert (vectors * expected).sum(axis=1).min() > 0.99

    def test_stored_vectors_become_those_of_the_tuned_model(self, saved, tmp_path):
        turn = LinearMap(RNG.normal(size=(16, 16)).astype(np.float32), RNG.normal(size=16).astype(np.float32))
        head = replace(saved.load_head(), tuning=(turn,))
        bundle = replace_head(saved, head, tmp_path / "new", name="new")
        images = pixels(6)
        with torch.inference_mode():
            before = from_bundle(saved)(torch.from_numpy(images)).numpy()
            after = from_bundle(bundle)(torch.from_numpy(images)).numpy()
        np.testing.assert_allclose(bundle.load_head().tune(before), after, atol=1e-5)

    def test_models_that_differ_in_their_heads_share_what_is_compiled(self, saved, tmp_path):
        bundle = replace_head(saved, Head(layer_norm=True), tmp_path / "new", name="new")
        for one in (saved, bundle):
            embedder.load(one.directory, device="cpu", cache_dir=tmp_path / "compiled")
        assert len(list((tmp_path / "compiled").iterdir())) == 1

    def test_a_head_for_other_features_is_refused(self, saved, tmp_path):
        head = Head(False, LinearMap(np.zeros((9, 100), np.float32)))
        with pytest.raises(BadBundle, match="does not take the 512 features of model tiny"):
            replace_head(saved, head, tmp_path / "new", name="new")
        assert not list(tmp_path.iterdir())

    def test_it_needs_no_torch(self, saved, tmp_path):
        code = (
            "import sys; sys.modules.update(torch=None, timm=None, torchvision=None); from pathlib import Path\n"
            "from ml.model.bundle import Bundle; from ml.model.head import Head\n"
            "from ml.model.writer import replace_head\n"
            "replace_head(Bundle.load(Path(sys.argv[1])), Head(True), Path(sys.argv[2]), name='new')"
        )
        subprocess.run([sys.executable, "-c", code, str(saved.directory), str(tmp_path / "new")], cwd=ROOT, check=True)
