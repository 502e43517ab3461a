"""Images to features of a network that is being trained: decoded once, read in batches, shared between runs."""

import hashlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ml.data import decoding
from ml.data.datasets import Dataset, Progress
from ml.data.decoding import Pixels
from ml.model.network import EmbeddingModel
from ml.preprocessing import Preprocessing
from ml.training import finetune

_BATCH = 64


class Cache:
    """Decoded images, by data and preprocessing. A sweep gives all of its trials the same one."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Pixels] = {}
        self._features: dict[str, Tensor] = {}  # some kB an image, a thirtieth of its pixels

    def pixels(self, data: Dataset, preprocessing: Preprocessing, on_progress: Progress | None) -> Pixels:
        key = (data.fingerprint, str(replace(preprocessing, mirror=False)))
        if key not in self._known:
            self._known[key] = decoding.decode(data, preprocessing, on_progress=on_progress)
        return self._known[key]

    def features(self, key: str, compute: Callable[[], Tensor]) -> Tensor:
        """Features of an untouched network, by backbone and images."""
        if key not in self._features:
            self._features[key] = compute()
        return self._features[key]


class Reader:
    """Images to features of the model as it is now. Until `touch`, runs with the same backbone share them."""

    def __init__(
        self, model: EmbeddingModel, device: torch.device, on_progress: Progress | None, cache: Cache, network: str
    ) -> None:
        self.model, self.device, self.on_progress = model, device, on_progress
        self._cache, self._network = cache, network
        self._is_untouched = True

    def touch(self) -> None:
        """Says that training begins."""
        self._is_untouched = False

    def features(
        self,
        array: np.ndarray,
        what: str,
        *,
        is_mirrored: bool = False,
        vary: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """uint8 [n, s, s, 3] to layer-normalised pooled features, float32 [n, d] on the CPU.

        Args:
            array: images.
            what: for progress.
            is_mirrored: of their mirror images.
            vary: uint8 [n, s, s, 3] to float [n, 3, t, t] in 0..1, instead of the images as they are.
        """
        if self._is_untouched and vary is None:
            content = hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=16).hexdigest()
            key = f"{self._network} {is_mirrored} {array.shape} {content}"
            return self._cache.features(key, lambda: self._compute(array, what, is_mirrored, None))
        return self._compute(array, what, is_mirrored, vary)

    @torch.no_grad()
    def _compute(
        self, array: np.ndarray, what: str, is_mirrored: bool, vary: Callable[[Tensor], Tensor] | None
    ) -> Tensor:
        batches = []
        for start in range(0, len(array), _BATCH):
            batch = torch.from_numpy(np.ascontiguousarray(array[start : start + _BATCH])).to(self.device)
            x = self.normalise(vary(batch)) if vary else self.model.normalise(batch)
            x = (x.flip(3) if is_mirrored else x).contiguous(memory_format=torch.channels_last)
            with finetune.autocast(self.device):
                features = self.model.features(x)
            batches.append(features.float().cpu())
            if self.on_progress:
                self.on_progress(what, min(start + _BATCH, len(array)), len(array))
        features = torch.cat(batches)
        return functional.layer_norm(features, features.shape[1:])

    def normalise(self, x: Tensor) -> Tensor:
        """float [n, 3, h, w] in 0..1 to what the backbone takes."""
        return (x - self.model.mean) / self.model.std


@torch.no_grad()
def project(model: EmbeddingModel, features: Tensor) -> Tensor:
    """Layer-normalised features through the linear map, rows of unit length."""
    projected = features if model.projection is None else model.projection.cpu()(features)
    return functional.normalize(projected, dim=1)
