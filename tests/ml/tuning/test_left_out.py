"""Photos of a gallery that a head was fitted to, asking as new ones would."""

import hashlib

import numpy as np
import pytest

from ml.model.head import unit_length
from ml.tuning.gallery_head import PRIOR_PAIRS, UNLABELLED, Scheme, fit_gallery, through
from ml.tuning.left_out import AsNew, of_gallery

DIM, CLASSES, EACH = 24, 30, 12


def photos(seed: int = 0, dim: int = DIM, apart: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of classes that are spread widely in some directions, and their labels."""
    dice = np.random.default_rng(seed)
    centres = apart * np.repeat(np.random.default_rng(5).normal(size=(CLASSES, dim)), EACH, axis=0)
    spread = np.linspace(0.2, 1.2, dim)
    return unit_length((centres + spread * dice.normal(size=centres.shape)).astype(np.float32)), np.repeat(
        np.arange(CLASSES), EACH
    )


def views_of(vectors: np.ndarray) -> list[np.ndarray]:
    dice = np.random.default_rng(1)
    return [unit_length(vectors + 0.05 * dice.normal(size=vectors.shape).astype(np.float32)) for _ in range(3)]


def test_each_photo_asks_through_the_map_without_its_own_views_and_pairs() -> None:
    """The same by an inverse for each, instead of Woodbury's identity."""
    vectors, _ = photos()
    views = views_of(vectors)
    scheme = Scheme(0.5, 20, 3)
    fitted = fit_gallery(vectors, views, scheme)
    found = of_gallery(fitted, scheme, vectors, views)
    pairs = vectors[fitted.alike[:, 0]] - vectors[fitted.alike[:, 1]]
    varied = np.stack(views) - vectors
    variance = np.square(varied).sum() / (2 * varied.size)
    # Views stand for so many pairs, and pairs are brought to their trace: the docstring of ml.tuning.gallery_head.
    of_views = PRIOR_PAIRS / (len(pairs) + PRIOR_PAIRS) / (2 * 3 * len(vectors)) / variance
    of_pairs = len(pairs) / (len(pairs) + PRIOR_PAIRS) * DIM / np.square(pairs).sum()
    every = np.concatenate([np.sqrt(of_views) * varied.reshape(-1, DIM), np.sqrt(of_pairs) * pairs]).astype(float)
    covariance = every.T @ every
    assert np.trace(covariance) == pytest.approx(DIM, rel=1e-4)
    centred = vectors - vectors.mean(0)
    for row in range(0, len(vectors), 7):
        of_row = np.zeros((3, len(vectors)), bool)
        of_row[:, row] = True
        own = every[np.r_[of_row.ravel(), (fitted.alike == row).any(axis=1)]]
        among = centred @ np.linalg.inv(covariance - own.T @ own + 0.5 * np.eye(DIM)) @ centred.T
        expected = among[row] / np.sqrt(np.diag(among) * among[row, row])
        assert found[row] == pytest.approx(expected, abs=1e-3)


def test_photos_of_the_gallery_ask_as_new_ones_do() -> None:
    vectors, labels = photos(dim=300, apart=0.35)  # among so many numbers, each pair has directions of its own
    new, _ = photos(seed=9, dim=300, apart=0.35)
    fitted = fit_gallery(vectors, views_of(vectors))
    tune = through(fitted.linear_map)
    tuned, asking = tune(vectors), tune(new)
    as_new = of_gallery(fitted, UNLABELLED, vectors, views_of(vectors))
    is_other = ~np.eye(len(vectors), dtype=bool)
    is_own = is_other & (labels[:, None] == labels)
    for of in (
        lambda similarity: similarity[is_own].mean(),
        lambda similarity: np.where(is_other, similarity, -1).max(axis=1).mean(),
    ):
        seen, taken, wanted = (of(each) for each in (tuned @ tuned.T, as_new, asking @ tuned.T))
        assert abs(taken - wanted) < 0.2 * abs(seen - wanted)


def test_of_a_small_gallery_all_ask_as_new_and_of_a_large_one_those_that_are() -> None:
    vectors, _ = photos()
    ids = [hashlib.sha256(bytes([n % 256, n // 256])).hexdigest() for n in range(len(vectors))]
    similar = np.random.default_rng(0).uniform(-1, 1, (100, 100)).astype(np.float32)
    kept = AsNew.of(ids[:100], similar)
    again = AsNew(kept.photos, kept.tensors()["similarities"])
    found, asks = again.among([id[:32] for id in ids[10:150]], vectors[10:150])
    assert asks.all() and found[:90, :90] == pytest.approx(similar[10:, 10:], abs=1e-3)
    assert found[90:] == pytest.approx(vectors[100:150] @ vectors[10:150].T, abs=1e-6)
    found, asks = again.among([id[:32] for id in ids], vectors)
    assert np.array_equal(np.flatnonzero(asks), np.arange(100, len(ids)))
    assert found == pytest.approx(vectors @ vectors.T, abs=1e-6)
