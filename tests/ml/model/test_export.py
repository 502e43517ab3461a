"""One ONNX file of a whole model, executed by ONNX Runtime: what any other program would get."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from ml.errors import BadBundle
from ml.model import save
from ml.model.bundle import Bundle
from ml.model.export import export_onnx
from ml.model.head import Head, LinearMap
from ml.model.network import EmbeddingModel, from_bundle
from ml.model.save import save_bundle
from ml.model.writer import replace_head
from ml.preprocessing import Preprocessing

SMALL = Preprocessing(32, 32, "squash", "bilinear", (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), False)
RNG = np.random.default_rng(0)


def run(file: Path, pixels: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (image,), (embedding,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.type, embedding.name) == ("image", "tensor(uint8)", "embedding")
    assert image.shape[1:] == [*pixels.shape[1:]]
    return session.run(None, {"image": pixels})[0]


def linear(out: int, into: int) -> LinearMap:
    return LinearMap(RNG.normal(size=(out, into)).astype(np.float32), RNG.normal(size=out).astype(np.float32))


HEADS = [Head(False), Head(True, linear(9, 1280)), Head(True, linear(9, 1280), (linear(9, 9), linear(4, 9)))]


@pytest.mark.parametrize("mirror", [False, True], ids=["plain", "mirror"])
@pytest.mark.parametrize("head", HEADS, ids=["features", "projection", "tuning"])
def test_the_file_gives_the_vectors_of_torch_for_any_number_of_images(tmp_path, mirror, head):
    model = EmbeddingModel("tf_efficientnet_lite0", replace(SMALL, mirror=mirror)).eval()
    bundle = replace_head(save_bundle(model, tmp_path / "base", name="base"), head, tmp_path / "model", name="model")
    export_onnx(bundle, tmp_path / "model.onnx")
    for count in (1, 3):
        pixels = RNG.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        with torch.inference_mode():
            expected = from_bundle(bundle)(torch.from_numpy(pixels)).numpy()
        np.testing.assert_allclose(run(tmp_path / "model.onnx", pixels), expected, atol=1e-5)


def test_the_default_model_gives_its_golden_vector_and_says_how_to_preprocess(default_bundle, tmp_path):
    export_onnx(default_bundle, tmp_path / "default.onnx")
    pixels, _, vector = default_bundle.golden()
    np.testing.assert_allclose(run(tmp_path / "default.onnx", pixels[None])[0], vector, atol=1e-5)
    session = onnxruntime.InferenceSession(tmp_path / "default.onnx", providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    assert Preprocessing.from_json(json.loads(facts["lookalike.preprocessing"])) == default_bundle.preprocessing
    assert facts["lookalike.name"] == default_bundle.name


def test_a_network_that_torch_wrote_is_exported_too(tmp_path):
    model = EmbeddingModel("resnet10t", replace(SMALL, mirror=True), dim=8, layer_norm=True).eval()
    bundle = save_bundle(model, tmp_path / "model", name="model")
    export_onnx(bundle, tmp_path / "model.onnx")
    pixels = RNG.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    with torch.inference_mode():
        np.testing.assert_allclose(
            run(tmp_path / "model.onnx", pixels), model(torch.from_numpy(pixels)).numpy(), atol=1e-5
        )


def test_a_model_without_an_onnx_network_is_refused(tmp_path, monkeypatch):
    def unsupported(model: EmbeddingModel) -> bytes:
        raise RuntimeError("no operator for it")

    monkeypatch.setattr(save, "to_onnx", unsupported)
    bundle: Bundle = save_bundle(EmbeddingModel("resnet10t", SMALL), tmp_path / "model", name="tiny")
    with pytest.raises(BadBundle, match=r"has no network\.onnx"):
        export_onnx(bundle, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
