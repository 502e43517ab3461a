"""Re-ranking against a plain transcription of the paper's formulas, and what it must and must not change."""

import time

import numpy as np
import pytest

from ml.evaluation.rerank import k_reciprocal


def _unit(n, d, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _transcribed(images, queries, columns, k1, k2, lambda_):
    """Zhong et al., one set after another, as their equations are numbered."""
    n = len(images)
    distance = np.maximum(2 - 2 * images.astype(float) @ images.T.astype(float), 0)
    np.fill_diagonal(distance, 0)
    scaled = distance / distance.max(1, keepdims=True)
    ranking = [sorted(range(n), key=lambda j: (j != i, distance[i, j], j)) for i in range(n)]

    def reciprocal(p, k):  # equation 3; the image itself counts as its first neighbour
        near = ranking[p][: k + 1]
        return {g for g in near if p in ranking[g][: k + 1]}

    encoding = np.zeros((n, n))
    for p in range(n):
        expanded = set(reciprocal(p, k1))
        for q in reciprocal(p, k1):  # equation 5
            half = reciprocal(q, round(k1 / 2))
            if len(reciprocal(p, k1) & half) > 2 / 3 * len(half):
                expanded |= half
        for g in expanded:  # equation 7
            encoding[p, g] = np.exp(-scaled[p, g])
        encoding[p] /= encoding[p].sum()
    if k2 > 1:  # equation 11
        encoding = np.array([np.mean([encoding[g] for g in ranking[p][:k2]], axis=0) for p in range(n)])
    result = np.zeros((queries, len(columns)))
    for p in range(queries):
        for place, g in enumerate(columns):  # equations 10 and 12
            jaccard = 1 - np.minimum(encoding[p], encoding[g]).sum() / np.maximum(encoding[p], encoding[g]).sum()
            result[p, place] = (1 - lambda_) * jaccard + lambda_ * scaled[p, g]
    return result


@pytest.mark.parametrize(("k1", "k2", "lambda_"), [(20, 6, 0.3), (5, 1, 0.0), (7, 3, 0.9), (100, 50, 0.3)])
@pytest.mark.parametrize("seed", [0, 1])
def test_it_equals_a_transcription_of_the_paper(k1, k2, lambda_, seed):
    images = _unit(60, 5, seed)
    expected = _transcribed(images, 15, range(15, 60), k1, k2, lambda_)
    result = k_reciprocal(images[:15], images[15:], k1=k1, k2=k2, lambda_=lambda_)
    np.testing.assert_allclose(result, expected, atol=2e-5)


def test_without_a_gallery_the_queries_are_compared_with_each_other():
    images = _unit(40, 6)
    expected = _transcribed(images, 40, range(40), 8, 3, 0.3)
    np.testing.assert_allclose(k_reciprocal(images, k1=8, k2=3), expected, atol=2e-5)


def test_lambda_one_keeps_the_order():
    query, gallery = _unit(10, 8), _unit(50, 8, 1)
    result = k_reciprocal(query, gallery, lambda_=1)
    assert np.array_equal(np.argsort(result, axis=1), np.argsort(-query @ gallery.T, axis=1))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_handful_of_images_is_enough(count):
    assert np.isfinite(k_reciprocal(_unit(1, 4), _unit(count, 4, 1))).all()


def test_identical_images_harm_nothing():
    images = np.repeat(_unit(3, 4), 10, axis=0)
    result = k_reciprocal(images)
    assert np.isfinite(result).all()
    assert (np.argsort(result, axis=1, kind="stable")[:, :10] // 10 == np.arange(30)[:, None] // 10).all()


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="lambda 2"):
        k_reciprocal(_unit(3, 4), lambda_=2)


def test_five_thousand_by_five_thousand_take_seconds():
    centres = _unit(250, 64)
    images = np.repeat(centres, 20, axis=0) + 0.4 * _unit(5000, 64, 1)
    images = (images / np.linalg.norm(images, axis=1, keepdims=True)).astype(np.float32)
    began = time.process_time()
    k_reciprocal(images)
    assert time.process_time() - began < 30  # 1.5 s on two cores, with room for slow ones
