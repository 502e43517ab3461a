"""What turns a network's features into vectors: normalisation, linear maps, unit length. A bundle's replaceable part.

Kept apart from the network as a small file of float32 matrices and applied in NumPy, so that a head is fitted and
replaced without torch, without converting or compiling anything, and for a map on finished vectors (`tuning`) without
embedding an image again. ml/model/network.py holds the same in torch, for training and for GPUs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

_LAYER_NORM_EPSILON = 1e-5  # torch's
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class LinearMap:
    """weight float32 [out, in] and bias float32 [out]. Centring is a bias: W (x - m) = W x - W m."""

    weight: np.ndarray
    bias: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.weight.ndim != 2 or (self.bias is not None and self.bias.shape != (len(self.weight),)):
            shape = None if self.bias is None else self.bias.shape
            raise ValueError(f"weight must be [out, in] and bias [out], got {self.weight.shape} and {shape}")

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """float32 [n, in] to float32 [n, out]; each row's result depends on that row alone, to the bit."""
        # Row by row: BLAS chooses its kernels by shape, and a vector must not depend on how many images came with it.
        mapped = np.stack([self.weight @ row for row in rows]) if len(rows) else np.empty((0, len(self.weight)))
        return mapped.astype(np.float32, copy=False) if self.bias is None else mapped + self.bias


@dataclass(frozen=True, eq=False)
class Head:
    """From pooled features to vectors of unit length.

    Args:
        layer_norm: normalise the features, without parameters.
        projection: of the features of each view; None keeps them.
        tuning: maps of finished vectors, one after another, each followed by unit length. They see what a collection
            stores, so a stored collection can be brought to a new head with `tune` alone.
    """

    layer_norm: bool
    projection: LinearMap | None = None
    tuning: tuple[LinearMap, ...] = ()

    def __call__(self, views: np.ndarray) -> np.ndarray:
        """Features of one or more views of n images to their vectors.

        Args:
            views: float32 [v, n, feature_dim]: the images, and behind them their mirror images if there are two. The
                unit vectors of an image's views are averaged.

        Returns:
            float32 [n, dim], rows of unit length.
        """
        projected = [self.project(view) for view in views]
        return self.tune(projected[0] if len(projected) == 1 else unit_length(np.sum(projected, axis=0)))

    def project(self, features: np.ndarray) -> np.ndarray:
        """Features of one view, float32 [n, feature_dim], to unit rows float32 [n, d] before any tuning."""
        if self.layer_norm:
            centred = features - features.mean(axis=1, keepdims=True)
            variance = np.square(centred).mean(axis=1, keepdims=True)
            features = centred / np.sqrt(variance + np.float32(_LAYER_NORM_EPSILON))
        return unit_length(features if self.projection is None else self.projection(features))

    def tune(self, vectors: np.ndarray) -> np.ndarray:
        """Unit rows without tuning, float32 [n, d], to unit rows float32 [n, dim] with all of it."""
        for linear_map in self.tuning:
            vectors = unit_length(linear_map(vectors))
        return vectors

    def tensors(self) -> dict[str, np.ndarray]:
        """What a bundle stores of it, by name; `layer_norm` stands in its model.json."""
        maps = {} if self.projection is None else {"projection": self.projection}
        maps |= {f"tuning.{number}": linear_map for number, linear_map in enumerate(self.tuning)}
        tensors = {}
        for name, linear_map in maps.items():
            tensors[f"{name}.weight"] = np.ascontiguousarray(linear_map.weight, np.float32)
            if linear_map.bias is not None:
                tensors[f"{name}.bias"] = np.ascontiguousarray(linear_map.bias, np.float32)
        return tensors

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray], *, layer_norm: bool) -> "Head":
        """The inverse of `tensors`.

        Raises:
            ValueError: a tensor is missing, unknown or has an impossible shape.
        """
        names = {name.rpartition(".")[0] for name in tensors}
        maps = {name: _linear_map(tensors, name) for name in names}
        projection = maps.pop("projection", None)
        try:
            tuning = tuple(maps.pop(f"tuning.{number}") for number in range(len(maps)))
        except KeyError as error:
            raise ValueError(f"the head has unknown tensors, or lacks {error}") from error
        return cls(layer_norm, projection, tuning)


def unit_length(rows: np.ndarray) -> np.ndarray:
    """float32 [n, d], each row divided by its length."""
    lengths = np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
    scaled: np.ndarray = rows / np.maximum(lengths, np.float32(_TINY))
    return scaled


def _linear_map(tensors: Mapping[str, np.ndarray], name: str) -> LinearMap:
    if f"{name}.weight" not in tensors:
        raise ValueError(f"the head lacks {name}.weight")
    return LinearMap(tensors[f"{name}.weight"], tensors.get(f"{name}.bias"))
