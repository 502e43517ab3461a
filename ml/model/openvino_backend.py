"""A bundle's ONNX network compiled by OpenVINO for the CPU: several times as fast there as torch, and without it.

The head follows in NumPy (ml/model/head.py). The converted network is kept in a cache folder, under its own checksum:
models that differ in their heads share it. Vectors do not depend on how images are batched: every image goes through
the same kernels, alone or not (tests/ml/model/test_embedder.py).
"""

import contextlib
import json
import logging
import platform
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from ml import cores, files
from ml.errors import BadBundle
from ml.model.backend import Interrupted
from ml.model.bundle import NETWORK, Bundle
from ml.model.head import Head

# OpenVINO tells Google Analytics of every import, through a package that it can do without.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
import openvino as ov  # noqa: E402

log = logging.getLogger(__name__)

# Low precision is used only where it changes little: mean cosine with float32 over the images of `_samples`.
MIN_MEAN_COSINE = 0.999

# Convolutions at the start that stay in float32 whatever the precision: they see the image at full size with few
# channels, and bf16 loses most there. With fewer than eight the vectors of some photos by Lite0 are further than 0.001
# (cosine) from float32's: see docs/benchmarks.md. They make the network about a fifth slower.
# What follows the last convolution stays in float32 too: the head enlarges small directions, and their rounding errors
# with them.
_PRECISE_CONVOLUTIONS = 8

_LAYOUT = 4  # of the cache; another number makes older ones be ignored
_IR = "network.xml"


class OpenVinoNetwork:
    """uint8 [n, s, s, 3] to float32 [n, dim] on CPU: the network by OpenVINO, the head by NumPy.

    One compiled copy spreads a single image over all cores, for searches. The other gives each core images of its
    own, for everything larger. Both hold the same weights.
    """

    device = "cpu"
    largest_batch = 32

    def __init__(self, network: ov.Model, head: Head, precision: str, why: str, *, mirror: bool) -> None:
        self.precision, self.why = precision, why
        # Of one image (and its mirror image), always: where a batch's size may vary, a call that is cancelled leaves
        # stale shapes behind, and later calls return vectors of other images (OpenVINO 2026.4). It is as fast as two.
        shape = network.input(0).partial_shape
        shape[0] = 1 + mirror
        network.reshape(shape)
        self._head, self._mirror = head, mirror
        core, streams = ov.Core(), cores.available()
        self.side_by_side = streams
        hints = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": streams}
        self._latency_request = core.compile_model(network, "CPU", hints | {"NUM_STREAMS": 1}).create_infer_request()
        throughput = core.compile_model(network, "CPU", hints | {"NUM_STREAMS": streams})
        # As many as images: a core that is done takes the next one by itself. With one for each core, it would wait
        # for this thread, which waits for the interpreter's lock.
        self._throughput_requests = [throughput.create_infer_request() for _ in range(self.largest_batch)]
        self._interrupting = threading.Lock()
        self._is_interrupted = False

    @classmethod
    def load(cls, bundle: Bundle, cache_dir: Path | None) -> "OpenVinoNetwork":
        """Takes the network from the cache, or converts it, which takes less than a second.

        Args:
            bundle: what to load.
            cache_dir: where converted networks are kept; None keeps none.

        Raises:
            BadBundle: the bundle has no ONNX network.
            RuntimeError: OpenVINO does not take the network.
        """
        if bundle.network is None:
            raise BadBundle(f"model {bundle.name} has no {NETWORK}", hint="install torch and timm: make train")
        core = ov.Core()
        processor = f"{core.get_property('CPU', 'FULL_DEVICE_NAME')} {platform.machine()}"
        if cache_dir is None:
            with tempfile.TemporaryDirectory() as scratch:
                return cls._load(core, bundle, Path(scratch) / "network", processor)
        version = ov.__version__.split("-")[0]
        kept = Path(cache_dir) / f"{bundle.files[NETWORK][:32]}-openvino-{version}-{_LAYOUT}"
        return cls._load(core, bundle, kept, processor)

    @classmethod
    def _load(cls, core: ov.Core, bundle: Bundle, cached: Path, processor: str) -> "OpenVinoNetwork":
        if not (cached / _IR).exists():
            log.info("compiling model %s for this processor", bundle.name)
            assert bundle.network is not None
            _convert(core, bundle.network.read_bytes(), cached)
        # Read into memory, not mapped: the cache may be emptied while the network is in use.
        network = core.read_model((cached / _IR).read_bytes(), (cached / _IR).with_suffix(".bin").read_bytes())
        head, mirror = bundle.load_head(), bundle.preprocessing.mirror
        choice_file = cached / f"choice-{bundle.sha256[:32]}.json"  # how much precision costs depends on the head
        choice = _read_choice(choice_file)
        if choice.get("processor") != processor:
            precision, why = _choose_precision(core, network, bundle, head)
            choice = {"processor": processor, "precision": precision, "why": why}
            files.write(choice_file, json.dumps(choice))
        return cls(network, head, choice["precision"], choice["why"], mirror=mirror)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        with self._interrupting:
            self._is_interrupted = False
        pixels = np.ascontiguousarray(pixels)
        try:
            if len(pixels) == 1:
                features = self._latency_request.infer({0: self._views(pixels)}, share_inputs=True)[0].copy()
                return self._head(features[:, None])
            return self._head(self._infer_concurrently(pixels))
        except RuntimeError as error:  # OpenVINO raises nothing finer
            for request in self._throughput_requests:
                with contextlib.suppress(RuntimeError):
                    request.wait()
            if self._is_interrupted:
                raise Interrupted from error
            raise

    def interrupt(self) -> None:
        with self._interrupting:  # a call that begins in the midst of it would end without knowing why
            self._is_interrupted = True
            for request in (self._latency_request, *self._throughput_requests):
                request.cancel()  # within a layer's time; one that rests is left as it is

    def _views(self, pixels: np.ndarray) -> np.ndarray:
        """An image, uint8 [1, s, s, 3], and its mirror image where the model looks at both: uint8 [v, s, s, 3]."""
        return np.concatenate([pixels, pixels[:, :, ::-1]]) if self._mirror else pixels

    def _infer_concurrently(self, pixels: np.ndarray) -> np.ndarray:
        """Features of all views, float32 [v, n, feature_dim]."""
        results: list[np.ndarray] = []
        for start in range(0, len(pixels), self.largest_batch):
            part = pixels[start : start + self.largest_batch]
            views = [self._views(part[index : index + 1]) for index in range(len(part))]  # held while they are read
            requests = self._throughput_requests[: len(part)]
            for request, view in zip(requests, views, strict=True):
                if self._is_interrupted:
                    raise RuntimeError("interrupted between two requests")
                request.start_async({0: view}, share_inputs=True)
            results += [_result(request) for request in requests]
        return np.stack(results, axis=1)


def _result(request: ov.InferRequest) -> np.ndarray:
    request.wait()
    computed: np.ndarray = request.get_output_tensor(0).data.copy()
    return computed


def features(network: bytes, pixels: np.ndarray) -> np.ndarray:
    """What an ONNX network gives for pixels, in float32.

    Args:
        network: as `ml.model.bundle` describes network.onnx.
        pixels: uint8 [n, s, s, 3].

    Raises:
        RuntimeError: OpenVINO does not take the network.
    """
    core = ov.Core()
    hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": cores.available()}
    compiled = core.compile_model(core.read_model(network), "CPU", hints)
    computed: np.ndarray = compiled({0: np.ascontiguousarray(pixels)})[0].copy()
    return computed


def _convert(core: ov.Core, network: bytes, kept: Path) -> None:
    """Writes an ONNX network as OpenVINO's IR into a new folder, which appears whole or not at all."""
    _check_whole(network)
    model = core.read_model(network)
    with files.draft(kept, keep_existing=True) as draft:  # another process that is faster has the same result
        draft.mkdir()
        ov.save_model(model, draft / _IR, compress_to_fp16=False)
        _keep_ends_precise(draft / _IR)


def _check_whole(network: bytes) -> None:
    """Refuses a network that names other files for its weights: whoever made it may name any file of this machine."""
    import onnx  # when a network is converted, and not at each start
    from google.protobuf.message import DecodeError
    from onnx.external_data_helper import uses_external_data

    def tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
        yield from graph.initializer
        for attribute in (each for node in graph.node for each in node.attribute):
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from tensors(inner)

    try:
        model = onnx.load_from_string(network)
    except DecodeError:
        return  # OpenVINO says what is wrong with it
    graphs = [model.graph, *(onnx.GraphProto(node=function.node) for function in model.functions)]
    if any(uses_external_data(tensor) for graph in graphs for tensor in tensors(graph)):
        raise BadBundle(f"{NETWORK} names other files for its weights", hint="save it as one file")


def _keep_ends_precise(ir: Path) -> None:
    # OpenVINO's own mark for operations that must not lose precision; its Python binding cannot set it on a network.
    tree = ElementTree.parse(ir)  # noqa: S314  written by save_model a moment ago
    layers = tree.findall("layers/layer")
    convolutions = [i for i, layer in enumerate(layers) if layer.get("type") in ("Convolution", "GroupConvolution")]
    precise = min(_PRECISE_CONVOLUTIONS, len(convolutions) // 5)
    if not precise:  # no convolutional network
        return
    for layer in layers[: convolutions[precise]] + layers[convolutions[-1] + 1 :]:
        facts = layer.find("rt_info")
        if facts is None:
            facts = ElementTree.Element("rt_info")
            layer.insert(0, facts)
        ElementTree.SubElement(facts, "attribute", name="precise", version="0")
    tree.write(ir, encoding="utf-8", xml_declaration=True)


def _choose_precision(core: ov.Core, network: ov.Model, bundle: Bundle, head: Head) -> tuple[str, str]:
    """The precision to compute in, and why."""
    can = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    low = "bf16" if "BF16" in can else "f16" if "FP16" in can else ""
    if not low:
        return "f32", "openvino f32: the processor computes in neither bf16 nor f16"
    samples = _samples(bundle)
    mirror = bundle.preprocessing.mirror
    in_low, in_f32 = (OpenVinoNetwork(network, head, to, "", mirror=mirror)(samples) for to in (low, "f32"))
    cosine = float((in_low * in_f32).sum(axis=1).mean())
    if cosine >= MIN_MEAN_COSINE:
        return low, f"openvino {low}: the processor computes in {low}, mean cosine with f32 is {cosine:.5f}"
    return "f32", f"openvino f32: mean cosine of {low} with f32 is {cosine:.5f}, below {MIN_MEAN_COSINE}"


def _samples(bundle: Bundle) -> np.ndarray:
    """Images to compare precisions on: the golden one, cut, turned and dimmed. uint8 [16, s, s, 3]."""
    golden, _, _ = bundle.golden()
    size = golden.shape[0]
    rng = np.random.default_rng(0)
    crops = []
    for _ in range(16):
        side = int(rng.integers(size // 3, size + 1))
        top, left = rng.integers(0, size - side + 1, 2)
        crop = np.rot90(golden[top : top + side, left : left + side], int(rng.integers(4)))
        rows = np.arange(size) * side // size
        crops.append((crop[rows][:, rows] * rng.uniform(0.5, 1.0)).astype(np.uint8))
    return np.stack(crops)


def _read_choice(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
