"""Averaging with neighbours, against the same written as loops; and what it is for."""

import numpy as np
import pytest

from ml.evaluation.neighbours import averaged_similarity


def unit(row: np.ndarray) -> np.ndarray:
    return row / np.linalg.norm(row)


def brute(query: np.ndarray, nearest: np.ndarray, neighbours: int) -> list[float]:
    averaged = []
    for row in nearest:
        own = sorted(nearest, key=lambda other: -float(row @ other))[: neighbours + 1]
        averaged.append(unit(sum(max(0.0, float(row @ other)) ** 3 * other for other in own)))
    best = sorted(averaged, key=lambda row: -float(row @ query))[:neighbours]
    expanded = unit(query + sum(max(0.0, float(row @ query)) ** 3 * row for row in best))
    return [float(row @ expanded) for row in averaged]


@pytest.mark.parametrize("count, neighbours", [(1, 3), (3, 3), (12, 1), (30, 5)])
def test_it_is_the_mean_of_each_with_its_neighbours_and_of_the_query_with_its_own(count, neighbours):
    dice = np.random.default_rng(count)
    rows = [unit(row) for row in dice.normal(size=(count + 1, 8)) + 1]
    query, nearest = rows[0].astype(np.float32), np.array(rows[1:], np.float32)
    found = averaged_similarity(query, nearest, neighbours=neighbours)
    np.testing.assert_allclose(found, brute(query, nearest, neighbours), atol=1e-5)


def test_of_nothing_nothing_is_said():
    assert averaged_similarity(np.ones(4, np.float32) / 2, np.empty((0, 4), np.float32)).shape == (0,)


def test_a_photo_among_photos_like_the_query_passes_one_that_is_nearer_and_among_others():
    query = np.array([1, 0, 0, 0], np.float32)
    group = [unit(np.array([0.8, 0.6, shift, 0])) for shift in (-0.1, 0.0, 0.1, 0.2)]
    member, stranger = unit(np.array([0.7, 0.7, 0, 0])), unit(np.array([0.75, 0, 0, 0.66]))
    its_own = [unit(np.array([0.3, 0, shift, 0.95])) for shift in (-0.1, 0.0, 0.1)]
    nearest = np.array([*group, stranger, member, *its_own], np.float32)
    assert float(stranger @ query) > float(member @ query)
    found = averaged_similarity(query, nearest)
    assert found[5] > found[4]
