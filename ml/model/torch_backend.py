"""A bundle's network in torch: CUDA where there is one, and the fallback on CPU."""

import threading

import numpy as np
import torch

from ml.errors import LookalikeError
from ml.model.bundle import Bundle
from ml.model.fixed_batches import SIZES, FixedBatches, half_forward
from ml.model.network import from_bundle

_DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16}


def has_cuda() -> bool:
    """Whether torch can compute on a GPU here."""
    return torch.cuda.is_available()


class TorchNetwork:
    """uint8 [n, s, s, 3] to float32 [n, dim] in torch, in float32 on the CPU."""

    device = "cpu"
    precision = "f32"
    largest_batch = 32
    side_by_side = 1

    def __init__(self, bundle: Bundle, why: str) -> None:
        self.why = why
        self._model = from_bundle(bundle).to(memory_format=torch.channels_last)

    @classmethod
    def on_cpu(cls, bundle: Bundle, why: str) -> "TorchNetwork":
        """On the CPU, in f32."""
        return cls(bundle, f"torch f32: {why}")

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            vectors: np.ndarray = self._model(torch.from_numpy(np.ascontiguousarray(pixels))).float().numpy()
            return vectors

    def interrupt(self) -> None:
        """Does nothing: what torch has begun, it ends."""


class CudaNetwork:
    """The same on a GPU, in bf16 where it has that, else in f16: see ml.model.fixed_batches.

    Args:
        bundle: what to load.
        device: cuda, or cuda:N for one of several GPUs.

    Raises:
        LookalikeError: there is none.
    """

    device = "cuda"
    largest_batch = SIZES[-1]
    side_by_side = 1

    def __init__(self, bundle: Bundle, device: str = "cuda") -> None:
        where = torch.device(device)
        if not has_cuda():
            raise LookalikeError("torch finds no CUDA device", hint="use device auto or cpu")
        if (where.index or 0) >= (count := torch.cuda.device_count()):
            raise LookalikeError(f"device {device} is not one of the {count} here", hint="they count from cuda:0")
        name = torch.cuda.get_device_name(where)
        with torch.cuda.device(where):
            has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        self.precision = "bf16" if has_bf16 else "f16"
        self.why = f"torch bf16: {name} computes in bf16" if has_bf16 else f"torch f16: {name} has no bf16"
        forward = half_forward(from_bundle(bundle), where, _DTYPES[self.precision])
        self._batches = FixedBatches(forward, where, bundle.preprocessing.size_px, bundle.dim)
        self._interrupted = threading.Event()

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        self._interrupted.clear()
        return self._batches(pixels, self._interrupted.is_set)

    def interrupt(self) -> None:
        """Ends the call under way before its next batch: what a GPU has begun, it ends."""
        self._interrupted.set()
