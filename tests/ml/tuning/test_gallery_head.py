"""A map fitted on a gallery's own pairs: what it does to neighbours, that it can be undone, and when it is refused."""

import numpy as np
import pytest

from ml.model.head import Head, LinearMap, unit_length
from ml.tuning import gallery_head
from ml.tuning.gallery_head import Conversion, GalleryTooSmall, fit, fit_gallery, mutual_pairs, neighbours_for


def groups(count: int, each: int, dim: int = 32, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of groups that differ in half of the dimensions, and vary widely in four of the others."""
    dice = np.random.default_rng(seed)
    centres = np.zeros((count, dim))
    centres[:, : dim // 2] = dice.normal(size=(count, dim // 2))
    rows = np.repeat(centres, each, axis=0) + 0.2 * dice.normal(size=(count * each, dim))
    rows[:, -4:] += 1.2 * dice.normal(size=(count * each, 4))
    return unit_length((rows + 0.5).astype(np.float32)), np.repeat(np.arange(count), each)


def right_share(vectors: np.ndarray, labels: np.ndarray, k: int) -> float:
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -1)
    nearest = np.argsort(-similarity, axis=1)[:, :k]
    return float((labels[nearest] == labels[:, None]).mean())


def test_neighbours_are_right_more_often_on_photos_that_it_was_not_fitted_on() -> None:
    vectors, labels = groups(30, 12)
    fitted = fit_gallery(vectors[::2])
    tuned = Head(False, tuning=(fitted.linear_map,)).tune(vectors[1::2])
    assert right_share(tuned, labels[1::2], 4) > right_share(vectors[1::2], labels[1::2], 4) + 0.03


def test_the_map_whitens_the_pairs_as_an_independent_formula_says() -> None:
    vectors, _ = groups(8, 10)
    pairs = np.array([[0, 1], [2, 3], [10, 11], [12, 17], [20, 21]])
    fitted = fit(vectors, pairs, 4)
    difference = vectors[pairs[:, 0]] - vectors[pairs[:, 1]]
    covariance = sum(np.outer(d, d) for d in difference.astype(float)) / (2 * len(pairs))
    shrunk = covariance + (0.5 + 2000 / 5) * np.trace(covariance) / 32 * np.eye(32)
    weight = fitted.linear_map.weight.astype(float)
    product = weight @ shrunk @ weight.T  # the identity, up to scale
    assert product / product[0, 0] == pytest.approx(np.eye(32), abs=1e-4)
    assert fitted.linear_map(vectors.mean(0, keepdims=True)) == pytest.approx(0, abs=1e-5)


def test_neighbours_are_the_nearest_others_whatever_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, _ = groups(9, 7)
    monkeypatch.setattr(gallery_head, "_CHUNK", 10)
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -2)
    expected = np.sort(np.argsort(-similarity, axis=1)[:, :3], axis=1)
    assert np.array_equal(np.sort(gallery_head.nearest_neighbours(vectors, 3), axis=1), expected)


def test_pairs_are_mutual_and_stand_once() -> None:
    nearest = {"a": ["b", "c"], "b": ["a", "d"], "c": ["d"], "d": ["c", "x"]}
    assert mutual_pairs(nearest) == [("a", "b"), ("c", "d")]
    assert mutual_pairs(nearest, ["d"]) == [("c", "d")]


def test_a_larger_gallery_asks_more_neighbours_and_a_small_one_is_refused() -> None:
    assert [neighbours_for(photos) for photos in (60, 119, 120, 240, 100_000)] == [1, 1, 2, 4, 4]
    with pytest.raises(GalleryTooSmall, match=r"at least 60 photos.* has 59"):
        neighbours_for(59)
    with pytest.raises(GalleryTooSmall, match="without being the same"):
        fit_gallery(np.tile(unit_length(np.ones((1, 8), np.float32)), (80, 1)))


def test_stored_vectors_become_those_of_another_tuning_and_come_back() -> None:
    vectors, _ = groups(20, 6)
    plain = Head(False)
    first, second = (Head(False, tuning=(fit_gallery(part).linear_map,)) for part in (vectors[::2], vectors[1::2]))
    stored = Conversion(plain, first)(vectors)
    assert stored == pytest.approx(first.tune(vectors), abs=1e-5)
    assert Conversion(first, second)(stored) == pytest.approx(second.tune(vectors), abs=1e-4)
    assert Conversion(first, plain)(stored) == pytest.approx(vectors, abs=1e-4)


def test_a_tuning_that_cuts_dimensions_cannot_be_undone() -> None:
    cut = Head(False, tuning=(LinearMap(np.eye(4, 8, dtype=np.float32)),))
    with pytest.raises(ValueError, match="cannot be undone"):
        Conversion(cut, Head(False))


def test_heads_that_differ_in_tuning_alone_share_their_features() -> None:
    projection = LinearMap(np.eye(4, 8, dtype=np.float32))
    tuned = Head(True, projection, (LinearMap(np.eye(4, dtype=np.float32)),))
    assert gallery_head.share_features(Head(True, projection), tuned)
    assert not gallery_head.share_features(Head(True, projection), Head(True))
    assert not gallery_head.share_features(Head(False, projection), tuned)
    other = LinearMap(2 * np.eye(4, 8, dtype=np.float32))
    assert not gallery_head.share_features(Head(True, other), tuned)
