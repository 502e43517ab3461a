"""Saving a model of torch as a bundle: its weights, its network as ONNX, its head in NumPy."""

import logging
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ml.errors import BadBundle
from ml.import_path import is_import_path
from ml.model import efficientnet_lite0
from ml.model.bundle import NETWORK, Bundle
from ml.model.head import Head, LinearMap
from ml.model.network import EmbeddingModel
from ml.model.writer import Parts, golden_views, write_bundle

log = logging.getLogger(__name__)

# Of features of the golden image by network.onnx, beside torch's, in float32.
MIN_COSINE = 0.9999


def save_bundle(
    model: EmbeddingModel,
    directory: Path,
    *,
    name: str,
    metrics: Mapping[str, Any] | None = None,
    lineage: Mapping[str, Any] | None = None,
    threshold: float | None = None,
) -> Bundle:
    """Writes the bundle of a model, whole or not at all; one that stands there is replaced in one step.

    Args:
        model: its `preprocessing`, backbone and head are saved with it.
        directory: must not exist, or be a bundle that is then replaced.
        name: of the model.
        metrics: what was measured on it, plain JSON.
        lineage: where it comes from (data, configuration, commit), plain JSON.
        threshold: similarity that 1 % of pairs of different labels pass, if known.

    Raises:
        BadBundle: the directory holds something else, or the network as ONNX gives other features than the model.
    """
    return write_bundle(parts_of(model), directory, name=name, metrics=metrics, lineage=lineage, threshold=threshold)


def parts_of(model: EmbeddingModel) -> Parts:
    """What a bundle of this model is made of.

    Raises:
        BadBundle: the network as ONNX gives other features for the golden image than the model, or is code of the
            user's that cannot be written so.
    """
    views = golden_views(model.preprocessing)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            on_device = torch.from_numpy(views).to(model.mean.device)
            features = model.features(model.normalise(on_device)).float().cpu().numpy()
        network = _network(model, features, views)
    finally:
        model.train(was_training)
    weights = {key: _array(value) for key, value in model.backbone.state_dict().items()}
    return Parts(model.backbone_name, weights, network, head_of(model), model.preprocessing, features)


def head_of(model: EmbeddingModel) -> Head:
    """The head of a model in NumPy."""
    projection = None if model.projection is None else _linear_map(model.projection)
    return Head(model.layer_norm, projection, tuple(_linear_map(linear) for linear in model.tuning))


def _network(model: EmbeddingModel, features: np.ndarray, views: np.ndarray) -> bytes | None:
    try:
        network = to_onnx(model)
    except (RuntimeError, TypeError, ValueError) as error:  # what it cannot trace, or has no operator for
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if is_import_path(model.backbone_name):  # nothing but ONNX would serve it
            raise BadBundle(f"backbone {model.backbone_name} cannot be written as ONNX: {reason}") from error
        log.warning("%s cannot be written as ONNX, so the model needs torch to serve: %s", model.backbone_name, reason)
        return None
    try:
        from ml.model import openvino_backend
    except ImportError:
        return network
    try:
        computed = openvino_backend.features(network, views)
    except RuntimeError as error:  # OpenVINO raises nothing finer; embedder.load falls back to torch too
        log.warning("openvino does not take %s: %s", model.backbone_name, str(error).strip().splitlines()[-1])
        return network
    cosine = (computed * features).sum(1) / np.linalg.norm(computed, axis=1) / np.linalg.norm(features, axis=1)
    if not cosine.min() >= MIN_COSINE:
        raise BadBundle(
            f"the ONNX network of {model.backbone_name} gives other features than torch for the golden image"
            f" (cosine {cosine.min():.5f})",
            hint="report this with the versions of torch, timm and OpenVINO",
        )
    return network


class _PixelsToFeatures(nn.Module):
    def __init__(self, model: EmbeddingModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model.features(self.model.normalise(pixels))


def to_onnx(model: EmbeddingModel) -> bytes:
    """From `pixels`, uint8 [n, s, s, 3], to `features`, float32 [n, feature_dim], for any n."""
    preprocessing = model.preprocessing
    size = preprocessing.size_px
    if model.backbone_name == efficientnet_lite0.NAME:
        weights = {key: _array(value) for key, value in model.backbone.state_dict().items()}
        return efficientnet_lite0.to_onnx(weights, size, preprocessing.mean, preprocessing.std)
    pixels = torch.zeros((2, size, size, 3), dtype=torch.uint8, device=model.mean.device)
    with torch.no_grad(), warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        # The exporter by tracing: the newer one (dynamo=True) takes 5 to 20 s for a backbone, this one about 1 s, and
        # a timm backbone has no branch that depends on its input. The golden image checks what comes out.
        torch.onnx.export(
            _PixelsToFeatures(model).eval(),
            (pixels,),
            str(Path(folder) / NETWORK),
            input_names=["pixels"],
            output_names=["features"],
            dynamic_axes={"pixels": {0: "n"}, "features": {0: "n"}},
            opset_version=efficientnet_lite0.OPSET,
            dynamo=False,
        )
        return (Path(folder) / NETWORK).read_bytes()


def _linear_map(linear: nn.Module) -> LinearMap:
    assert isinstance(linear, nn.Linear)
    return LinearMap(_array(linear.weight), None if linear.bias is None else _array(linear.bias))


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().contiguous().numpy()
