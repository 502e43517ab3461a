"""Points to write into a collection, and what they are made of."""

import hashlib

import numpy as np

from workers.messages import GalleryImage
from workers.store import Payload, Point

DIM = 16


def ids(n: int) -> list[str]:
    return [hashlib.sha256(str(i).encode()).hexdigest()[:32] for i in range(n)]


def unit_vectors(n: int, dim: int = DIM, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def points(n: int) -> list[Point]:
    labels = ["Lime", "Red/Apple", None]
    return [
        Point(id, vector, Payload(f"photos/{i}.jpg", labels[i % 3]))
        for i, (id, vector) in enumerate(zip(ids(n), unit_vectors(n), strict=True))
    ]


NOW = 1_795_500_000


def gallery(n: int) -> list[Point]:
    """Points of images that were added a second after each other, the first few taken a day before each other."""
    labels = ["Lime", "Red Apple", None]
    return [
        Point(
            id,
            vector,
            Payload.of(
                GalleryImage(
                    id,
                    "",
                    f"photos/{i % 4}/IMG_{i:04}.jpg",
                    labels[i % 3],
                    1,
                    1,
                    "JPEG",
                    1,
                    NOW + i,
                    taken_at=NOW - i * 86_400 if i < 6 else None,
                )
            ),
        )
        for i, (id, vector) in enumerate(zip(ids(n), unit_vectors(n), strict=True))
    ]


def tied(n: int) -> list[Point]:
    """Points of images that were added at the same moment, in the middle of the others."""
    at = 1_000_000 * (NOW + 12)
    return [
        Point(id, vector, Payload("tied.jpg", None, newest=at))
        for id, vector in zip(ids(100 + n)[100:], unit_vectors(n, seed=1), strict=True)
    ]
