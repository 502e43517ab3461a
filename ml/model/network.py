"""The network: a timm backbone and the head of NormSoftmax, from uint8 pixels to unit vectors.

The head is that of Zhai & Wu, "Classification is a Strong Baseline for Deep Metric Learning" (BMVC 2019): pooling,
layer normalisation without parameters, an optional linear map, unit length. Normalising the pixels is part of the
network, so that a compiled copy of it needs nothing else. `ml.model.head` is the same head without torch.
"""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ml.errors import BadBundle
from ml.import_path import is_import_path
from ml.model import backbone as backbones
from ml.model.backbone import DEFAULT_BACKBONE
from ml.model.bundle import WEIGHTS, Bundle
from ml.model.head import Head, LinearMap
from ml.model.upgrade import load_bundle
from ml.model.weights import pretrained_weights
from ml.names import MODEL_JSON
from ml.preprocessing import Preprocessing


class EmbeddingModel(nn.Module):
    """Images to vectors of unit length.

    Args:
        backbone_name: of timm, made without weights.
        preprocessing: what the pixels were cut with; its mean, std and mirror are applied in here.
        dim: length of the vectors; None leaves out the linear map, and the backbone's features are the vectors.
        layer_norm: normalise the pooled features, without parameters.
        bias: of the linear map. NormSoftmax has none; a head in closed form needs one to centre the features.
        any_size: the backbone also takes images of other sizes, if it can.
        own_code: the backbone's name may be an import path; true where the person who trains gave it, and nowhere else.
    """

    def __init__(
        self,
        backbone_name: str,
        preprocessing: Preprocessing,
        *,
        dim: int | None = None,
        layer_norm: bool = False,
        bias: bool = False,
        any_size: bool = False,
        own_code: bool = False,
    ) -> None:
        super().__init__()
        self.backbone_name = backbone_name
        self.preprocessing = preprocessing
        self.layer_norm = layer_norm
        self.backbone = backbones.create(backbone_name, preprocessing.size_px, any_size=any_size, own_code=own_code)
        self.feature_dim = backbones.feature_dim(self.backbone, preprocessing.size_px)
        self.projection: nn.Linear | None = None if dim is None else nn.Linear(self.feature_dim, dim, bias=bias)
        self.tuning = nn.ModuleList()  # of finished vectors: ml.model.head
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.std).view(1, 3, 1, 1), persistent=False)

    mean: Tensor
    std: Tensor

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        if self.tuning:
            return int(self.tuning[-1].out_features)  # type: ignore[arg-type]
        return self.feature_dim if self.projection is None else self.projection.out_features

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [n, h, w, 3] to float [n, dim], rows of unit length."""
        x = self.normalise(pixels)
        if self.preprocessing.mirror:
            both = self.embed(torch.cat([x, x.flip(3)]))
            vectors = functional.normalize(both.view(2, len(x), -1).sum(dim=0), dim=1)
        else:
            vectors = self.embed(x)
        for linear in self.tuning:
            vectors = functional.normalize(linear(vectors), dim=1)
        return vectors

    def normalise(self, pixels: Tensor) -> Tensor:
        """uint8 [n, h, w, 3] to float [n, 3, h, w] with the mean and std of the preprocessing."""
        return (pixels.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std

    def embed(self, x: Tensor) -> Tensor:
        """Normalised float [n, 3, h, w] to float [n, d], rows of unit length; no mirror image, no tuning."""
        return self.project(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """Normalised float [n, 3, h, w] to the backbone's pooled features, float [n, feature_dim]."""
        features: Tensor = self.backbone(x)
        return features

    def project(self, features: Tensor) -> Tensor:
        """Pooled features [n, feature_dim] to float [n, d], rows of unit length; no tuning."""
        if self.layer_norm:
            features = functional.layer_norm(features, features.shape[1:])
        if self.projection is not None:
            features = self.projection(features)
        return functional.normalize(features, dim=1)

    def set_projection(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """Replaces the linear map: weight [dim, feature_dim], bias [dim]."""
        self.projection = _linear(weight, bias).to(self.mean.device)

    def set_head(self, head: Head) -> None:
        """Replaces all that follows the features, by what a bundle stores."""
        self.layer_norm = head.layer_norm
        self.projection = None if head.projection is None else _in_torch(head.projection).to(self.mean.device)
        self.tuning = nn.ModuleList(_in_torch(linear_map) for linear_map in head.tuning).to(self.mean.device)

    def reference(self, pixels: Tensor) -> Tensor:
        """`forward` as a bundle promises it: evaluation mode, float32. The mode is put back afterwards."""
        was_training = self.training
        self.eval()
        try:
            vectors: Tensor = self(pixels.to(self.mean.device)).float().cpu()
            return vectors
        finally:
            self.train(was_training)


def pretrained(
    backbone: str = DEFAULT_BACKBONE,
    *,
    weights: Path | None = None,
    dim: int | None = None,
    layer_norm: bool = False,
    preprocessing: Preprocessing | None = None,
    size_px: int | None = None,
    any_size: bool = False,
) -> tuple[EmbeddingModel, Preprocessing]:
    """A model with pretrained weights, in evaluation mode.

    Args:
        backbone: as `ml.model.weights` says: "efficientnet_lite0", whose ImageNet weights are installed with
            Lookalike; any name of timm, whose weights are downloaded; "NAME@FILE", "hf-hub:OWNER/NAME",
            "NAME@random"; an import path of code, which is then run; or the folder of a bundle.
        weights: a file to read; the same as "NAME@FILE".
        dim: add a fresh linear map to this many dimensions.
        layer_norm: normalise the pooled features.
        preprocessing: use this one instead of the one that the backbone was trained with.
        size_px: side of the images instead of the usual one; a vision transformer takes the nearest multiple of its
            patches, and its position embeddings are resampled. What is cut off around the middle keeps its share.
        any_size: the backbone also takes images of other sizes, if it can.

    Raises:
        LookalikeError: no such backbone, or its weights cannot be had or do not fit.
        BadBundle: the folder is no intact bundle.
    """
    if (Path(backbone) / MODEL_JSON).is_file():
        model = from_bundle(load_bundle(Path(backbone)), size_px=size_px, any_size=any_size)
        model.tuning = nn.ModuleList()  # fitted on the vectors of the network as it was
        return model, model.preprocessing
    found = pretrained_weights(backbone, weights)
    preprocessing = _sized(preprocessing or found.preprocessing, found.name, size_px)
    model = EmbeddingModel(found.name, preprocessing, dim=dim, layer_norm=layer_norm, any_size=any_size, own_code=True)
    if found.state is not None:
        backbones.load_weights(model.backbone, found.state, found.name)
    return model.eval(), preprocessing


def from_bundle(bundle: Bundle, *, size_px: int | None = None, any_size: bool = False) -> EmbeddingModel:
    """The network of a bundle, in evaluation mode.

    Args:
        bundle: a checked one.
        size_px: side of the images instead of the bundle's; see `pretrained`.
        any_size: the backbone also takes images of other sizes, if it can.

    Raises:
        BadBundle: the weights do not fit the backbone and head that the bundle names.
    """
    if is_import_path(bundle.backbone):
        raise BadBundle(
            f"the backbone of model {bundle.name} is code ({bundle.backbone}), which no model on disk may run",
            hint=f"to train on from it: --backbone {bundle.backbone}@{bundle.directory / WEIGHTS}",
        )
    head = bundle.load_head()
    try:
        preprocessing = _sized(bundle.preprocessing, bundle.backbone, size_px)
        model = EmbeddingModel(bundle.backbone, preprocessing, any_size=any_size)
        weights = {name: torch.from_numpy(array) for name, array in bundle.tensors(WEIGHTS).items()}
        if preprocessing.size_px == bundle.preprocessing.size_px:
            model.backbone.load_state_dict(weights)
        else:
            backbones.load_weights(model.backbone, weights, bundle.backbone)
    except RuntimeError as error:  # of many lines, one for each tensor
        reason = " ".join(str(error).split())[:200]
        raise BadBundle(f"the weights of model {bundle.name} do not fit {bundle.backbone}: {reason}") from error
    if model.feature_dim != bundle.golden_features().shape[1]:
        raise BadBundle(f"the head of model {bundle.name} does not take its {model.feature_dim} features")
    model.set_head(head)
    return model.eval()


def _sized(preprocessing: Preprocessing, backbone: str, size_px: int | None) -> Preprocessing:
    if size_px is None or size_px == preprocessing.size_px:
        return preprocessing
    size = backbones.fitting_px(backbone, size_px)
    return replace(preprocessing, size_px=size, resize_px=round(size * preprocessing.resize_px / preprocessing.size_px))


def _in_torch(linear_map: LinearMap) -> nn.Linear:
    bias = None if linear_map.bias is None else torch.from_numpy(linear_map.bias)
    return _linear(torch.from_numpy(linear_map.weight), bias)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    with torch.no_grad():
        linear.weight.copy_(weight)
        if bias is not None:
            linear.bias.copy_(bias)
    return linear
