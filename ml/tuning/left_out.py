"""What new photos would find, asked of photos that a head was fitted to: by a head without what the asking one gave.

A head that was fitted to a gallery (ml.tuning.gallery_head) has made little of what each photo's views and partners
differ by: photos of that gallery are nearer to each other than a new one is to any of them, and how likely hits are
right, learned of them as they are, would be too strict for new photos. So each photo asks through the head as it would
be without its own views and pairs. That is exact, and takes no second fit: a few differences leave a covariance, and
Woodbury's identity gives the inverse of the rest. It is kept with the model, since views are not. NumPy alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ml.model.bundle import AS_NEW, Bundle
from ml.tensors import Expected
from ml.tuning.gallery_head import GalleryHead, Scheme

_BYTES = 8  # of a photo's SHA-256: two different ones share them by chance once in 2**64 pairs
_DIGITS = 2 * _BYTES


@dataclass(frozen=True, eq=False)
class AsNew:
    """Similarities of photos to each other, where each that asks is new to the head.

    Args:
        photos: the first `_DIGITS` of the SHA-256 of each.
        similarities: float [n, n], a row for each that asks. That to itself means nothing.
    """

    photos: tuple[str, ...]
    similarities: np.ndarray

    @classmethod
    def of(cls, sha256: Sequence[str], similarities: np.ndarray) -> "AsNew":
        return cls(tuple(content[:_DIGITS] for content in sha256), similarities)

    @classmethod
    def load(cls, bundle: Bundle) -> "AsNew | None":
        """What a model keeps; None of one that was fitted to no gallery, or before this was kept. Raises BadBundle."""
        if AS_NEW not in bundle.files:
            return None
        photos = bundle.tensors(AS_NEW, {"photos": Expected("uint8", (None, _BYTES))})["photos"]
        square = (len(photos), len(photos))
        similarities = bundle.tensors(AS_NEW, {"similarities": Expected("float16", square)})["similarities"]
        return cls(tuple(row.tobytes().hex() for row in photos), similarities)

    def tensors(self) -> dict[str, np.ndarray]:
        """What a bundle stores of it."""
        content = np.frombuffer(bytes.fromhex("".join(self.photos)), np.uint8).reshape(-1, _BYTES)
        return {"photos": content, "similarities": self.similarities.astype(np.float16)}

    def among(self, ids: Sequence[str], vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Similarities of photos of a gallery, and which of them are to ask.

        The head was fitted to all of a small gallery: they ask by what is kept of them. Of a large one it was fitted to
        a sample: all others are new to it as they are, and ask alone.

        Args:
            ids: of the photos, beginnings of their SHA-256.
            vectors: float32 [n, d], unit rows: theirs.

        Returns:
            float32 [n, n] and bool [n].
        """
        place = {photo: n for n, photo in enumerate(self.photos)}
        kept = np.array([place.get(id[:_DIGITS], -1) for id in ids], np.int64)
        inside = np.flatnonzero(kept >= 0)
        similarity: np.ndarray = vectors @ vectors.T
        if len(inside) < len(ids) / 2:
            return similarity, kept < 0
        similarity[np.ix_(inside, inside)] = self.similarities[np.ix_(kept[inside], kept[inside])]
        return similarity, np.ones(len(ids), bool)


def similarities_as_new(
    fitted: GalleryHead,
    scheme: Scheme,
    vectors: np.ndarray,
    views: Callable[[int], np.ndarray],
    pairs: Mapping[int, Sequence[np.ndarray]],
    on_row: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Asks.

    Args:
        fitted: the head.
        scheme: that it was fitted by.
        vectors: float32 [n, d], unit rows without tuning: of the photos.
        views: position of a photo to what its views differ from it by, float32 [v, d].
        pairs: position of a photo to what its partners differ from it by, float32 [d] each.
        on_row: called before each photo.

    Returns:
        float32 [n, n], a row for each photo that asks.
    """
    dim = vectors.shape[1]
    weight, bias = fitted.linear_map.weight, fitted.linear_map.bias
    # W = c (C + s)^-1/2, where C has a mean variance of 1: so the trace of W^-2 tells c.
    inverse = np.linalg.inv(weight.astype(np.float64))
    scale = np.float32(np.sqrt(np.square(inverse).sum() / (dim * (1 + scheme.shrinkage))))
    whitened = scale * (vectors @ weight.T + (0 if bias is None else bias))
    products = whitened @ whitened.T
    lengths = np.diag(products)
    found = np.empty((len(vectors), len(vectors)), np.float32)
    for row in range(len(vectors)):
        on_row()
        of_pairs = np.stack(pairs[row]) if pairs.get(row) else np.empty((0, dim), np.float32)
        own = np.concatenate([np.sqrt(fitted.view_share) * views(row), np.sqrt(fitted.pair_share) * of_pairs])
        own = scale * (own.astype(np.float32) @ weight.T)
        drawn = whitened @ own.T  # [n, r]
        rest = np.eye(len(own)) - (own @ own.T).astype(np.float64)
        weights = np.linalg.solve(rest, drawn.T.astype(np.float64)).T
        lifted = lengths + (weights * drawn).sum(axis=1)
        found[row] = (products[row] + weights @ drawn[row]) / np.sqrt(lifted * lifted[row])
    return found


def of_gallery(fitted: GalleryHead, scheme: Scheme, vectors: np.ndarray, views: Sequence[np.ndarray]) -> np.ndarray:
    """The same of a gallery in memory, with the arguments of `ml.tuning.gallery_head.fit_gallery`."""
    pairs = paired(vectors, fitted.alike)
    return similarities_as_new(
        fitted, scheme, vectors, lambda row: np.stack([v[row] for v in views]) - vectors[row], pairs
    )


def paired(vectors: np.ndarray, alike: np.ndarray) -> dict[int, list[np.ndarray]]:
    """Position of a photo to what its partners differ from it by, float32 [d] each.

    Args:
        vectors: float32 [n, d], without tuning.
        alike: int64 [p, 2], positions of the photos of each pair.
    """
    found: dict[int, list[np.ndarray]] = {}
    for one, other in alike.tolist():
        difference = vectors[one] - vectors[other]
        found.setdefault(one, []).append(difference)
        found.setdefault(other, []).append(difference)
    return found
