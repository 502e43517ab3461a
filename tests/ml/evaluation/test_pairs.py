"""Comparative sets and pairs, against loops."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from ml.evaluation.pairs import comparative_ranks, comparative_sets, count_pairs


def _random(n=60, d=8, classes=6):
    generator = torch.Generator().manual_seed(3)
    return functional.normalize(torch.randn(n, d, generator=generator), dim=1), torch.arange(n) % classes


def test_a_set_holds_another_image_of_the_label_and_images_of_others():
    _, labels = _random()
    sets = comparative_sets(labels, count=200, negatives=40, seed=1)
    assert (labels[sets.query] == labels[sets.positive]).all()
    assert (sets.query != sets.positive).all()
    assert (labels[sets.negatives] != labels[sets.query][:, None]).all()
    assert all(len(set(row)) == 40 for row in sets.negatives.tolist())


def test_of_few_images_no_set_holds_one_twice_and_all_hold_equally_many():
    labels = torch.tensor([0] * 5 + [1] * 3 + [2])
    sets = comparative_sets(labels, count=50)
    assert sets.negatives.shape == (50, 4), "those of label 0 have four others"
    assert all(len(set(row)) == 4 for row in sets.negatives.tolist())


def test_sets_repeat_with_the_seed_and_differ_without():
    _, labels = _random()
    first, again, other = (comparative_sets(labels, count=50, negatives=20, seed=seed) for seed in (5, 5, 6))
    assert np.array_equal(first.negatives, again.negatives)
    assert not np.array_equal(first.negatives, other.negatives)


def test_ranks_equal_a_loop():
    embeddings, labels = _random()
    sets = comparative_sets(labels, count=100, negatives=30)
    ranks = comparative_ranks(embeddings, sets)
    for query, positive, negatives, rank in zip(sets.query, sets.positive, sets.negatives, ranks, strict=True):
        distance = [float(torch.dist(embeddings[query], embeddings[j])) for j in [positive, *negatives]]
        assert rank == 1 + sum(d < distance[0] for d in distance[1:])


def test_images_that_all_look_alike_rank_in_the_middle():
    embeddings = torch.ones(10, 1)
    sets = comparative_sets(torch.arange(10) % 2, count=20, negatives=4)
    assert (comparative_ranks(embeddings, sets) == 3).all()


def test_fewer_than_two_labels_make_no_sets():
    with pytest.raises(ValueError, match="two labels"):
        comparative_sets(torch.zeros(5, dtype=torch.int64))


def test_every_pair_is_counted_once():
    embeddings, labels = _random()
    pairs = count_pairs(embeddings, labels)
    assert pairs.same.sum() == 6 * (10 * 9 // 2)
    assert pairs.same.sum() + pairs.different.sum() == 60 * 59 // 2


def test_images_of_other_labels_count_as_different_and_not_among_themselves():
    embeddings, labels = _random()
    alone, others = count_pairs(embeddings, labels), embeddings[:7]
    pairs = count_pairs(embeddings, labels, others)
    np.testing.assert_array_equal(pairs.same, alone.same)
    added = pairs.different - alone.different
    assert added.sum() == 60 * 7
    expected, _ = np.histogram((embeddings @ others.T).numpy(), pairs.edges)
    assert np.abs(np.cumsum(added) - np.cumsum(expected)).max() <= 8  # rounding at the edges of bins


def test_the_threshold_lets_one_percent_of_false_pairs_through():
    embeddings, labels = _random(400, 16, 8)
    pairs = count_pairs(embeddings, labels)
    threshold = pairs.threshold(0.01)
    similarity = embeddings @ embeddings.T
    false = similarity[(labels[:, None] != labels[None]).triu(1)]
    share = float((false >= threshold).float().mean())
    assert 0.008 <= share <= 0.01
    assert pairs.match_rate(threshold)[1] == pytest.approx(share, abs=1e-4)
