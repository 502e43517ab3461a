"""Images to features of a network that is being trained: decoded once, read in batches, shared between runs."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
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
        rows: np.ndarray | None = None,
        is_mirrored: bool = False,
        vary: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """uint8 [n, s, s, 3] to layer-normalised pooled features, float32 [n, d] on the CPU.

        Args:
            array: images; processes may share them, so they are read in batches and never copied as a whole.
            what: for progress.
            rows: of the array, int64 [m]; None for all.
            is_mirrored: of their mirror images.
            vary: uint8 [n, s, s, 3] to float [n, 3, t, t] in 0..1, instead of the images as they are.
        """
        rows = np.arange(len(array)) if rows is None else rows
        if self._is_untouched and vary is None:
            content = hashlib.blake2b(digest_size=16)
            for batch in _batches(array, rows):
                content.update(batch.data)
            key = f"{self._network} {is_mirrored} {len(rows)} {array.shape[1:]} {content.hexdigest()}"
            return self._cache.features(key, lambda: self._compute(array, rows, what, is_mirrored, None))
        return self._compute(array, rows, what, is_mirrored, vary)

    @torch.no_grad()
    def _compute(
        self,
        array: np.ndarray,
        rows: np.ndarray,
        what: str,
        is_mirrored: bool,
        vary: Callable[[Tensor], Tensor] | None,
    ) -> Tensor:
        computed: list[Tensor] = []
        done = 0
        for images in _batches(array, rows):
            batch = torch.from_numpy(images).to(self.device)
            x = self.normalise(vary(batch)) if vary else self.model.normalise(batch)
            x = (x.flip(3) if is_mirrored else x).contiguous(memory_format=torch.channels_last)
            with finetune.autocast(self.device):
                features = self.model.features(x)
            computed.append(features.float().cpu())
            done += len(images)
            if self.on_progress:
                self.on_progress(what, done, len(rows))
        features = torch.cat(computed)
        return functional.layer_norm(features, features.shape[1:])

    def normalise(self, x: Tensor) -> Tensor:
        """float [n, 3, h, w] in 0..1 to what the backbone takes."""
        return (x - self.model.mean) / self.model.std


def _batches(array: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Copies of a batch of rows at a time."""
    for start in range(0, len(rows), _BATCH):
        yield np.ascontiguousarray(array[rows[start : start + _BATCH]])


@torch.no_grad()
def project(model: EmbeddingModel, features: Tensor) -> Tensor:
    """Layer-normalised features through the linear map, rows of unit length."""
    projected = features if model.projection is None else model.projection.cpu()(features)
    return functional.normalize(projected, dim=1)


def project_sides(model: EmbeddingModel, sides: Sequence[Tensor]) -> Tensor:
    """Features of images, and of their mirror images where there are two sides, to rows of unit length."""
    projected = [project(model, side) for side in sides]
    return projected[0] if len(projected) == 1 else functional.normalize(torch.stack(projected).sum(0), dim=1)
