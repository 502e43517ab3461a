"""Pictures to unit vectors, in batches, on what this machine has.

`load` takes a bundle and picks the device and the precision; `Embedder.why` says why. Preprocessing is the bundle's.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from ml.bundle import Bundle, Preprocessing


class Network(Protocol):
    """A loaded network on some device."""

    device: str
    precision: str
    why: str

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 [n, s, s, 3] to float32 [n, dim], rows of unit length."""
        ...


class Embedder:
    """A loaded model. One caller at a time."""

    def __init__(self, bundle: Bundle, network: Network) -> None:
        self.bundle = bundle
        self._network = network

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
    def why(self) -> str:
        """How device and precision were chosen, one line."""
        return self._network.why

    def embed(self, images: Sequence[Image.Image]) -> np.ndarray:
        """RGB pictures of any size to float32 [n, dim], rows of unit length."""
        if not images:
            return np.empty((0, self.dim), np.float32)
        return self.embed_arrays(np.stack([self.preprocessing.apply(image) for image in images]))

    def embed_arrays(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 [n, size_px, size_px, 3], as `preprocessing.apply` gives them, to float32 [n, dim], unit rows."""
        if not len(pixels):
            return np.empty((0, self.dim), np.float32)
        vectors = self._network(pixels).astype(np.float32, copy=False)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def load(bundle_dir: Path, *, device: str = "auto", cache_dir: Path | None = None) -> Embedder:
    """Loads a bundle and checks it against its golden picture.

    Args:
        bundle_dir: a folder that `bundle.save` wrote.
        device: auto, cuda or cpu.
        cache_dir: where compiled models are kept between starts; None keeps none.

    Raises:
        BadBundle: damaged, or not giving the vectors that it gave when it was saved.
        LookalikeError: the device is not there.
    """
    from ml.network_torch import TorchNetwork

    bundle = Bundle.load(bundle_dir)
    embedder = Embedder(bundle, TorchNetwork.load(bundle, device))
    saved, now, _ = bundle.golden()
    bundle.check_golden(embedder.embed_arrays(np.stack([saved, now])))
    return embedder
