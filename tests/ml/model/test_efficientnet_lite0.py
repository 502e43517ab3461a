"""EfficientNet-Lite0 as an ONNX graph, written without torch, beside timm's network of the same weights."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from ml import images
from ml.model import efficientnet_lite0
from ml.model.bundle import Preprocessing
from ml.model.network import EmbeddingModel, pretrained

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    return efficientnet_lite0.pretrained_weights()


def features_of_onnx(weights: dict[str, np.ndarray], preprocessing: Preprocessing, pixels: np.ndarray) -> np.ndarray:
    model = efficientnet_lite0.to_onnx(weights, preprocessing.size_px, preprocessing.mean, preprocessing.std)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(["features"], {"pixels": pixels})[0]


def features_of_torch(model: EmbeddingModel, pixels: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return model.features(model.normalise(torch.from_numpy(pixels))).numpy()


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_weights_go_by_the_names_of_timm(weights):
    state = pretrained()[0].backbone.state_dict()
    assert set(weights) == set(state)
    for name, tensor in state.items():
        assert weights[name].shape == tuple(tensor.shape)


@pytest.mark.photos
def test_the_graph_equals_the_torch_network_on_real_photos(weights, grocery):
    model, preprocessing = pretrained()
    paths = sorted((grocery / "test").rglob("*.jpg"))[::20]
    decoded = [images.decode(path.read_bytes(), min_side=preprocessing.min_side) for path in paths]
    pixels = np.stack([preprocessing.apply(image) for image in decoded])
    actual, expected = features_of_onnx(weights, preprocessing, pixels), features_of_torch(model, pixels)
    np.testing.assert_allclose(unit(actual), unit(expected), atol=1e-5)


@pytest.mark.parametrize("size_px", [96, 97, 130])
def test_the_graph_equals_the_torch_network_at_other_sizes_and_colours(weights, size_px):
    """Odd sizes: padding of TensorFlow's "same" depends on what is left after each stride."""
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    preprocessing = Preprocessing(size_px, size_px, "squash", "bicubic", mean, std, False)
    model, _ = pretrained(preprocessing=preprocessing)
    pixels = np.random.default_rng(0).integers(0, 256, (3, size_px, size_px, 3), dtype=np.uint8)
    actual, expected = features_of_onnx(weights, preprocessing, pixels), features_of_torch(model, pixels)
    np.testing.assert_allclose(unit(actual), unit(expected), atol=1e-5)


def test_the_graph_takes_any_number_of_images(weights):
    preprocessing = Preprocessing(32, 32, "squash", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), False)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    together = features_of_onnx(weights, preprocessing, pixels)
    assert together.shape == (5, efficientnet_lite0.FEATURE_DIM)
    np.testing.assert_allclose(features_of_onnx(weights, preprocessing, pixels[:1]), together[:1], atol=1e-4)


def test_writing_the_graph_imports_no_torch():
    code = (
        "import sys; sys.modules.update(torch=None, timm=None, torchvision=None);"
        "from ml.model import efficientnet_lite0 as lite0;"
        "lite0.to_onnx(lite0.pretrained_weights(), 224, (0.5,) * 3, (0.5,) * 3)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
