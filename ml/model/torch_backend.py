"""A bundle's network in torch: CUDA where there is one, and the fallback on CPU."""

import numpy as np
import torch

from ml.errors import LookalikeError
from ml.model.bundle import Bundle
from ml.model.network import from_bundle


def has_cuda() -> bool:
    """Whether torch can compute on a GPU here."""
    return torch.cuda.is_available()


class TorchNetwork:
    """uint8 [n, s, s, 3] to float32 [n, dim] in torch."""

    def __init__(self, bundle: Bundle, device: str, precision: str, why: str) -> None:
        self.device, self.precision, self.why = device, precision, why
        self._dtype = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}[precision]
        self._model = from_bundle(bundle).to(device).to(memory_format=torch.channels_last)

    @classmethod
    def on_cuda(cls, bundle: Bundle) -> "TorchNetwork":
        """On the first GPU, in bf16 where it has that, else in f16.

        Raises:
            LookalikeError: there is none.
        """
        if not has_cuda():
            raise LookalikeError("torch finds no CUDA device", hint="use device auto or cpu")
        name = torch.cuda.get_device_name()
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return cls(bundle, "cuda", "bf16", f"torch bf16: {name} computes in bf16")
        return cls(bundle, "cuda", "f16", f"torch f16: {name} has no bf16")

    @classmethod
    def on_cpu(cls, bundle: Bundle, why: str) -> "TorchNetwork":
        """On the CPU, in f32."""
        return cls(bundle, "cpu", "f32", f"torch f32: {why}")

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        batch = torch.from_numpy(np.ascontiguousarray(pixels)).to(self.device)
        with torch.inference_mode(), torch.autocast(self.device, self._dtype, enabled=self.precision != "f32"):
            vectors: np.ndarray = self._model(batch).float().cpu().numpy()
            return vectors

    def interrupt(self) -> None:
        """Does nothing: what a GPU has begun, it ends."""
