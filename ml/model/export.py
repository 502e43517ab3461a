"""One ONNX file of a whole model, for other programs: image in, vector of unit length out; head and mirror included."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ml import files
from ml.errors import BadBundle
from ml.model.bundle import NETWORK, Bundle
from ml.model.head import Head, LinearMap

INPUT, OUTPUT = "image", "embedding"


def export_onnx(bundle: Bundle, file: Path) -> None:
    """Writes a model as one file that any runtime of ONNX executes.

    Its input `image` is uint8 [n, s, s, 3], red, green and blue, scaled and cut as the bundle's preprocessing says,
    which stands in the file's metadata as `lookalike.preprocessing`; mean and std are applied inside. Its output
    `embedding` is float32 [n, dim], rows of unit length.

    Args:
        bundle: to export.
        file: is written or replaced.

    Raises:
        BadBundle: the bundle has no ONNX network.
        OSError: the file cannot be written.
    """
    if bundle.network is None:
        raise BadBundle(f"model {bundle.name} has no {NETWORK}: its backbone cannot be written as ONNX")
    model = onnx.load(bundle.network)
    (pixels,), (features,) = model.graph.input, model.graph.output
    before, network_input = _before(bundle.preprocessing.mirror)
    network = [*model.graph.node]
    for node in network:
        node.input[:] = [network_input if name == pixels.name else name for name in node.input]
    behind = _Behind(features.name, bundle.golden_features().shape[1])
    behind.head(bundle.load_head(), mirror=bundle.preprocessing.mirror)
    del model.graph.node[:], model.graph.input[:], model.graph.output[:]
    model.graph.node.extend([*before, *network, *behind.nodes])
    model.graph.initializer.extend(behind.constants)
    model.graph.input.append(
        helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["n", *[bundle.preprocessing.size_px] * 2, 3])
    )
    model.graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", bundle.dim]))
    del model.graph.value_info[:]  # shapes of the network alone
    facts = {"name": bundle.name, "sha256": bundle.sha256, "preprocessing": bundle.preprocessing.to_json()}
    helper.set_model_props(model, {f"lookalike.{key}": _text(value) for key, value in facts.items()})
    onnx.checker.check_model(model)
    files.write(file, model.SerializeToString())


def _before(mirror: bool) -> tuple[list[onnx.NodeProto], str]:
    """Nodes between the image and the network, and what the network gets."""
    if not mirror:
        return [], INPUT
    slice_of = {"starts": [-1], "ends": [np.iinfo(np.int64).min], "axes": [2], "steps": [-1]}
    nodes = [
        helper.make_node("Constant", [], [f"flip/{name}"], value=numpy_helper.from_array(np.array(value, np.int64)))
        for name, value in slice_of.items()
    ]
    nodes.append(helper.make_node("Slice", [INPUT, *(f"flip/{name}" for name in slice_of)], ["flip/mirrored"]))
    nodes.append(helper.make_node("Concat", [INPUT, "flip/mirrored"], ["flip/views"], axis=0))
    return nodes, "flip/views"


class _Behind:
    """The nodes of a head, one after another. What ml/model/head.py does in NumPy."""

    def __init__(self, features: str, feature_dim: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._last = features
        self._dim = feature_dim

    def head(self, head: Head, *, mirror: bool) -> None:
        if head.layer_norm:
            self._layer_norm()
        if head.projection is not None:
            self._linear(head.projection)
        self._unit_length()
        if mirror:
            self._add("Reshape", [self._constant(np.array([2, -1, self._dim], np.int64))])
            self._add("ReduceSum", [self._constant(np.array([0], np.int64))], keepdims=0)
            self._unit_length()
        for linear_map in head.tuning:
            self._linear(linear_map)
            self._unit_length()
        self._add("Identity", [], output=OUTPUT)

    def _layer_norm(self) -> None:
        # Written out: LayerNormalization wants a scale of the features' length, which a graph need not state.
        features, axis = self._last, self._constant(np.array([1], np.int64))
        mean = self._add("ReduceMean", [axis], keepdims=1)
        centred = self._add("Sub", [mean], first=features)
        squared = self._add("Mul", [centred], first=centred)
        variance = self._add("ReduceMean", [axis], first=squared, keepdims=1)
        padded = self._add("Add", [self._constant(np.float32(1e-5))], first=variance)
        self._add("Div", [self._add("Sqrt", [], first=padded)], first=centred)

    def _linear(self, linear_map: LinearMap) -> None:
        self._add("MatMul", [self._constant(np.ascontiguousarray(linear_map.weight.T))])
        self._dim = len(linear_map.weight)
        if linear_map.bias is not None:
            self._add("Add", [self._constant(linear_map.bias)])

    def _unit_length(self) -> None:
        vectors = self._last
        self._add("ReduceL2", [self._constant(np.array([1], np.int64))], keepdims=1)
        self._add("Div", [self._add("Max", [self._constant(np.float32(1e-12))])], first=vectors)

    def _add(
        self, operator: str, others: Sequence[str], *, first: str = "", output: str = "", **attributes: Any
    ) -> str:
        output = output or f"head/{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, [first or self._last, *others], [output], **attributes))
        self._last = output
        return output

    def _constant(self, value: np.ndarray | np.float32) -> str:
        name = f"head/constant/{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
