"""What a training holds out: classes where there are many, images where there are few, and what the table says."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ml.data.datasets import BadDataset, Dataset
from ml.data.holdout import hold_out


def _data(classes, each=10, held=None):
    count = classes * each
    labels = np.repeat(np.arange(classes), each)
    paths, contents = tuple(Path(str(n)) for n in range(count)), tuple(str(n) for n in range(count))
    return Dataset("photos", paths, labels, tuple(f"c{n:02d}" for n in range(classes)), contents, held=held)


def test_many_classes_lose_whole_classes():
    data = _data(30)
    held = hold_out(data, 0.1)
    assert held.split == "classes" and "30 classes" in held.why
    assert len(np.unique(data.labels[held.is_held])) == 3 and held.is_held.sum() == 30


def test_few_classes_keep_all_of_them_in_training():
    data = _data(10)
    held = hold_out(data, 0.1)
    assert held.split == "images" and "fewer than 20" in held.why
    assert np.bincount(data.labels[held.is_held]).tolist() == [2] * 10
    assert set(data.labels[~held.is_held]) == set(range(10))


def test_what_is_asked_for_is_done():
    assert hold_out(_data(10), 0.2, split="classes").split == "classes"
    assert hold_out(_data(30), 0.1, split="images").split == "images"
    assert hold_out(_data(30), 0.0).split == "none"


def test_classes_of_few_images_give_none_away():
    assert hold_out(_data(3, each=3), 0.5).split == "none"


@pytest.mark.parametrize("split", ["classes", "images"])
def test_consecutive_seeds_hold_out_others(split):
    data = _data(10)
    draws = [hold_out(data, 0.2, split=split, seed=seed).is_held for seed in range(5)]
    assert len({tuple(draw) for draw in draws}) == 5
    if split == "classes":
        assert np.stack(draws).sum(0).tolist() == [1] * 100, "some class was held out twice before all were once"


def test_the_tables_own_choice_goes_first():
    is_val = np.arange(40) % 4 == 0
    held = hold_out(_data(4, held=is_val), 0.1, split="classes")
    assert held.split == "val" and held.is_held.tolist() == is_val.tolist()


def test_a_choice_that_measures_or_trains_nothing_is_refused():
    with pytest.raises(BadDataset, match="nothing to measure"):
        hold_out(_data(4, held=np.arange(40) == 0), 0.1)
    with pytest.raises(BadDataset, match="fewer than two classes"):
        hold_out(replace(_data(4), held=np.arange(40) >= 10), 0.1)
