"""A map fitted to a gallery: what it does to neighbours, that it can be undone, and when it is refused."""

import numpy as np
import pytest

from ml.model.head import Head, LinearMap, unit_length
from ml.tuning import gallery_head
from ml.tuning.gallery_head import (
    UNLABELLED,
    Conversion,
    Differences,
    GalleryHead,
    GalleryTooSmall,
    fit,
    fit_gallery,
    partners,
    views_for,
)


def groups(count: int, each: int, dim: int = 32, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of groups that differ in half of the dimensions, and vary widely in four of the others."""
    dice = np.random.default_rng(seed)
    centres = np.zeros((count, dim))
    centres[:, : dim // 2] = dice.normal(size=(count, dim // 2))
    rows = np.repeat(centres, each, axis=0) + 0.2 * dice.normal(size=(count * each, dim))
    rows[:, -4:] += 1.2 * dice.normal(size=(count * each, 4))
    return unit_length((rows + 0.5).astype(np.float32)), np.repeat(np.arange(count), each)


def varied(vectors: np.ndarray, dimensions: int = 4, seed: int = 0) -> list[np.ndarray]:
    """Views: they vary in some of the dimensions alone."""
    dice = np.random.default_rng(seed)
    spread = np.zeros(vectors.shape[1])
    spread[-dimensions:] = 0.2
    return [unit_length(vectors + (spread * dice.normal(size=vectors.shape)).astype(np.float32)) for _ in range(3)]


def fitted_on(vectors: np.ndarray) -> GalleryHead:
    return fit_gallery(vectors, varied(vectors))


def right_share(vectors: np.ndarray, labels: np.ndarray, k: int) -> float:
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -1)
    nearest = np.argsort(-similarity, axis=1)[:, :k]
    return float((labels[nearest] == labels[:, None]).mean())


def differences(rows: np.ndarray) -> Differences:
    found = Differences(rows.shape[1])
    found.add(rows)
    return found


def test_neighbours_are_right_more_often_on_photos_that_it_was_not_fitted_on() -> None:
    vectors, labels = groups(30, 12)
    fitted = fitted_on(vectors[::2])
    tuned = Head(False, tuning=(fitted.linear_map,)).tune(vectors[1::2])
    assert right_share(tuned, labels[1::2], 4) > right_share(vectors[1::2], labels[1::2], 4) + 0.03


def test_a_gallery_with_one_photo_of_each_thing_learns_from_views() -> None:
    vectors, labels = groups(40, 4)
    fitted = fitted_on(vectors[::4])
    assert fitted.views == 3 * 40
    tuned = Head(False, tuning=(fitted.linear_map,)).tune(vectors)
    assert right_share(tuned, labels, 3) > right_share(vectors, labels, 3) + 0.02


def test_pairs_are_taken_of_all_photos_where_views_are_of_the_first_ones_alone() -> None:
    vectors, _ = groups(30, 12)
    few, all_of_them = ([view[:count] for view in varied(vectors)] for count in (90, len(vectors)))
    one, other = fit_gallery(vectors, few), fit_gallery(vectors, all_of_them)
    assert (one.views, other.views) == (3 * 90, 3 * len(vectors))
    assert one.pairs == pytest.approx(other.pairs, rel=0.1)
    assert one.alike.max() > 300
    difference = np.abs(one.linear_map.weight - other.linear_map.weight).max()
    assert difference < 0.1 * np.abs(other.linear_map.weight).max()


def test_pairs_tell_what_views_do_not_show() -> None:
    vectors, labels = groups(30, 12)
    views = varied(vectors, dimensions=2)  # of the four that vary
    of_views = Differences(32)
    for view in views:
        of_views.add(view - vectors)
    alone = fit(vectors.mean(0), of_views)
    both = fit_gallery(vectors, views)
    assert both.pairs > 300
    shares = [right_share(Head(False, tuning=(each.linear_map,)).tune(vectors), labels, 6) for each in (alone, both)]
    assert shares[1] > shares[0] + 0.01


def test_the_map_whitens_the_differences_as_an_independent_formula_says() -> None:
    vectors, _ = groups(8, 10)
    dice = np.random.default_rng(1)
    of_views, of_pairs = (dice.normal(size=(n, 32)).astype(np.float32) for n in (50, 20))
    fitted = fit(vectors.mean(0), differences(of_views), differences(of_pairs), 3)

    def covariance(rows: np.ndarray) -> np.ndarray:
        return sum(np.outer(d, d) for d in rows.astype(float)) / (2 * len(rows))

    views, pairs = covariance(of_views), covariance(of_pairs)
    together = (1000 * views + 20 * pairs * np.trace(views) / np.trace(pairs)) / 1020
    shrunk = together + 0.25 * np.trace(views) / 32 * np.eye(32)
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


def test_partners_are_near_from_both_sides() -> None:
    angles = np.radians([0, 10, 11, 13, 40])  # the second has nearer ones than the first
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert partners(points, 1) == []
    assert partners(points[[1, 0, 2, 3, 4]], 1) == [2]
    assert sorted(partners(points, 4)) == [1, 2, 3, 4]
    assert partners(points[:1], 4) == []


def test_a_larger_gallery_asks_more_neighbours_and_fewer_views_and_a_small_one_is_refused() -> None:
    assert [UNLABELLED.neighbours(photos) for photos in (30, 99, 100, 240, 300, 100_000)] == [1, 1, 2, 4, 6, 6]
    assert [views_for(photos) for photos in (30, 128, 256, 512, 100_000)] == [16, 16, 8, 4, 4]
    few = np.eye(29, dtype=np.float32)
    with pytest.raises(GalleryTooSmall, match=r"at least 30 photos.* has 29"):
        fit_gallery(few, [few])
    same = np.tile(unit_length(np.ones((1, 8), np.float32)), (80, 1))
    with pytest.raises(GalleryTooSmall, match="no view"):
        fit_gallery(same, [same])


def test_stored_vectors_become_those_of_another_tuning_and_come_back() -> None:
    vectors, _ = groups(20, 6)
    plain = Head(False)
    first, second = (Head(False, tuning=(fitted_on(part).linear_map,)) for part in (vectors[::2], vectors[1::2]))
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
