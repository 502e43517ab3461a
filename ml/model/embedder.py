"""Batched image embedding on the best available device.

`load` takes a bundle and picks the device and the precision; `Embedder.why` says why. Preprocessing is the bundle's.
"""

import functools
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from ml.errors import LookalikeError
from ml.import_path import is_import_path
from ml.model.backend import Network
from ml.model.bundle import Bundle
from ml.model.head import Head
from ml.model.upgrade import load_bundle
from ml.preprocessing import Preprocessing

log = logging.getLogger(__name__)

GPU_HINT = "install the extra gpu: pip install 'lookalike[gpu]'"
_CUDA_DRIVERS = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg")


class Embedder:
    """A loaded model. Calls from several threads wait for each other."""

    def __init__(self, bundle: Bundle, network: Network) -> None:
        self.bundle = bundle
        self._network = network
        self._lock = threading.Lock()

    @functools.cached_property
    def head(self) -> Head:
        """What follows the network."""
        return self.bundle.load_head()

    @property
    def name(self) -> str:
        return self.bundle.name

    @property
    def dim(self) -> int:
        return self.bundle.dim

    @property
    def preprocessing(self) -> Preprocessing:
        return self.bundle.preprocessing

    @property
    def device(self) -> str:
        """cuda or cpu."""
        return self._network.device

    @property
    def precision(self) -> str:
        """bf16, f16 or f32."""
        return self._network.precision

    @property
    def largest_batch(self) -> int:
        """Images beyond which a call gains nothing."""
        return self._network.largest_batch

    @property
    def side_by_side(self) -> int:
        """Images that are computed at the same time: with fewer, cores of the processor have nothing to do."""
        return self._network.side_by_side

    @property
    def why(self) -> str:
        """How device and precision were chosen, one line."""
        return self._network.why

    def embed(self, images: Sequence[Image.Image]) -> np.ndarray:
        """RGB images of any size to float32 [n, dim], rows of unit length."""
        if not images:
            return np.empty((0, self.dim), np.float32)
        if len(images) < 4:
            return self.embed_arrays(np.stack([self.preprocessing.apply(image) for image in images]))
        with ThreadPoolExecutor(4) as threads:  # Pillow lets go of the interpreter's lock
            return self.embed_arrays(np.stack(list(threads.map(self.preprocessing.apply, images))))

    def embed_arrays(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 [n, size_px, size_px, 3], as `preprocessing.apply` gives them, to float32 [n, dim], unit rows."""
        if not len(pixels):
            return np.empty((0, self.dim), np.float32)
        with self._lock:
            vectors = self._network(pixels)
        vectors = vectors.astype(np.float32, copy=False)
        unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit

    def interrupt(self) -> None:
        """Ends the `embed_arrays` under way in another thread, where the device can: it raises Interrupted."""
        self._network.interrupt()


def load(bundle_dir: Path, *, device: str = "auto", cache_dir: Path | None = None) -> Embedder:
    """Loads a bundle and checks it against its golden image.

    Args:
        bundle_dir: a folder that `save_bundle` wrote.
        device: auto, cpu, cuda, or cuda:N for one of several GPUs.
        cache_dir: where compiled models are kept between starts; None keeps none.

    Raises:
        BadBundle: damaged, or not giving the vectors that it gave when it was saved.
        LookalikeError: the device is not there.
    """
    bundle = load_bundle(bundle_dir)
    embedder = Embedder(bundle, _network(bundle, device, cache_dir))
    saved, now, _ = bundle.golden()
    bundle.check_golden(embedder.embed_arrays(np.stack([saved, now])), embedder.precision)
    log.info("model %s: %s", bundle.name, embedder.why)
    return embedder


def _network(bundle: Bundle, device: str, cache_dir: Path | None) -> Network:
    # torch takes seconds to import, so it is asked for CUDA only where a driver shows. A network that was made by code
    # of the user's is served as ONNX alone: torch would have to run that code.
    is_code = is_import_path(bundle.backbone)
    if is_code and device.startswith("cuda"):
        raise LookalikeError(f"the backbone of model {bundle.name} is code, and runs on the CPU alone, as ONNX")
    if device.startswith("cuda") or (
        device == "auto" and not is_code and any(Path(path).exists() for path in _CUDA_DRIVERS)
    ):
        on_cuda = _on_cuda(bundle, device)
        if on_cuda is not None:
            return on_cuda
    if bundle.network is None:
        return _in_torch(bundle, "the model has no ONNX network")
    try:
        from ml.model.openvino_backend import OpenVinoNetwork
    except ImportError:
        return _in_torch(bundle, "openvino is not installed")
    try:
        return OpenVinoNetwork.load(bundle, cache_dir)
    except RuntimeError as error:  # OpenVINO raises nothing finer, for a layer that it does not know for one
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        log.warning("openvino does not take model %s: %s", bundle.name, reason)
        return _in_torch(bundle, f"openvino does not take this model ({reason})")


def _on_cuda(bundle: Bundle, device: str) -> Network | None:
    """On a GPU; None where torch is not installed or finds none, unless the device was asked for."""
    try:
        from ml.model.torch_backend import CudaNetwork, has_cuda
    except ImportError as error:
        if device != "auto":
            raise LookalikeError(f"device {device} needs torch, which is not installed", hint=GPU_HINT) from error
        log.warning("there is an NVIDIA driver, but no torch to use it: %s", GPU_HINT)
        return None
    if device == "auto":
        return CudaNetwork(bundle) if has_cuda() else None
    return CudaNetwork(bundle, device)


def _in_torch(bundle: Bundle, why: str) -> Network:
    try:
        from ml.model.torch_backend import TorchNetwork
    except ImportError as error:
        raise LookalikeError(
            f"model {bundle.name} needs torch, which is not installed: {why}", hint="install it: make train"
        ) from error
    return TorchNetwork.on_cpu(bundle, why)
