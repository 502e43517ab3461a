"""Learning rates along the steps of a run, and batches of its epochs."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.ml.training.test_finetune import SCHEDULE


def test_rates_rise_and_fall_along_one_cycle():
    weights = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([{"params": [weights], "peak": 1e-3}], lr=1.0)
    rates = []
    for step in range(100):
        SCHEDULE.set_rates(optimizer, step, 100)
        rates.append(optimizer.param_groups[0]["lr"])
    assert max(rates) == pytest.approx(1e-3)
    assert rates.index(max(rates)) == 25
    assert rates[0] == pytest.approx(4e-5)
    assert rates[-1] < 1e-5


@pytest.mark.parametrize("images_per_class", [2, 0])
def test_an_epoch_shows_whole_batches_and_the_next_one_others(images_per_class):
    schedule = replace(SCHEDULE, images_per_class=images_per_class)
    labels = np.repeat(np.arange(8), 4)
    first, again, second = (list(schedule.batches(labels, epoch=epoch)) for epoch in (0, 0, 1))
    assert {len(batch) for batch in first} == {schedule.batch_size}
    assert np.array_equal(first, again) and not np.array_equal(first, second)
    if images_per_class:
        assert all(set(np.unique(labels[batch], return_counts=True)[1]) == {2} for batch in first)
