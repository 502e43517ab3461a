"""Batches: balanced, complete, and the same again."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.data.sampling import class_balanced, shuffled


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=12),
    per_batch=st.integers(2, 6),
    per_class=st.integers(1, 5),
    epoch=st.integers(0, 5),
)
def test_every_batch_has_its_size_and_its_classes_whatever_the_data(sizes, per_batch, per_class, epoch):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    options = {"classes_per_batch": per_batch, "images_per_class": per_class, "seed": 3}
    batches = list(class_balanced(labels, **options, epoch=epoch))
    assert len(batches) == max(1, len(labels) // (per_batch * per_class))
    for batch in batches:
        assert len(batch) == per_batch * per_class
        counts = np.unique(labels[batch], return_counts=True)[1]
        assert len(counts) == min(per_batch, len(sizes))
        assert counts.max() - counts.min() <= 1
    again = list(class_balanced(labels, **options, epoch=epoch))
    assert all(np.array_equal(one, other) for one, other in zip(batches, again, strict=True))


def test_epochs_and_seeds_differ():
    labels = np.repeat(np.arange(10), 8)
    options = {"classes_per_batch": 4, "images_per_class": 2}
    orders = [
        np.concatenate(list(class_balanced(labels, **options, seed=seed, epoch=epoch)))
        for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    assert not np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], orders[2])


def test_a_class_shows_all_of_its_images_before_one_comes_again():
    labels = np.repeat(np.arange(4), 6)
    seen = np.concatenate(list(class_balanced(labels, classes_per_batch=4, images_per_class=2, seed=0, epoch=0)))
    assert sorted(seen.tolist()) == list(range(24))


def test_classes_come_equally_often():
    labels = np.repeat(np.arange(9), [30] * 8 + [2])
    seen = np.concatenate(list(class_balanced(labels, classes_per_batch=4, images_per_class=4, seed=0, epoch=0)))
    counts = np.bincount(labels[seen], minlength=9) // 4
    assert counts.max() - counts.min() <= 1


def test_a_shuffled_epoch_repeats_no_image():
    batches = list(shuffled(50, batch=16, seed=0, epoch=1))
    assert [len(batch) for batch in batches] == [16, 16, 16]
    assert len(set(np.concatenate(batches).tolist())) == 48
    assert [len(batch) for batch in shuffled(5, batch=16, seed=0, epoch=0)] == [5]
