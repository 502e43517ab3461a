"""Selection and order of the most similar equal a stable sort, whatever ties there are."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from ml.evaluation import selection


def similarities(rows: int, columns: int, levels: int, seed: int) -> torch.Tensor:
    """Of both signs, 0 included."""
    random = np.random.default_rng(seed)
    drawn = random.integers(0, levels, (rows, columns)).astype(np.float32) / levels
    drawn *= random.choice(np.float32([-1, 1]), (rows, columns))
    drawn[np.arange(rows), np.arange(rows) % columns] = -np.inf  # a row never finds itself
    return torch.from_numpy(drawn)


@pytest.mark.parametrize("select", [selection.largest, selection._largest_in_torch])
@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 300),
    columns=st.integers(2, 400),
    share=st.floats(0, 1),
    levels=st.sampled_from([1, 2, 5, 100, 10**6]),
    seed=st.integers(0, 1000),
)
def test_the_largest_come_first_and_equal_ones_in_their_order(select, rows, columns, share, levels, seed):
    given = similarities(rows, columns, levels, seed)
    width = 1 + int(share * (columns - 2))
    expected = np.argsort(-given.numpy(), axis=1, kind="stable")[:, :width]
    assert np.array_equal(select(given, width).numpy(), expected)


@pytest.mark.parametrize("every", range(selection._STRIDE))
def test_rows_whose_large_values_lie_where_none_is_looked_for(every):
    given = similarities(20, 1000, 10**6, every)
    given[:, every :: selection._STRIDE] += 5
    expected = np.argsort(-given.numpy(), axis=1, kind="stable")[:, :40]
    assert np.array_equal(selection.largest(given, 40).numpy(), expected)


@pytest.mark.parametrize("levels", [3, 10**6])
def test_average_precision_is_that_of_scikit_learn(levels):
    given = similarities(150, 90, levels, 1)
    random = np.random.default_rng(2)
    right = torch.from_numpy(np.stack([random.permutation(90)[:7] for _ in given]))
    is_right = torch.from_numpy(random.random((150, 7)) < 0.6) & (given.gather(1, right) > -torch.inf)
    found = selection.average_precisions(given, right, is_right)
    for row in range(len(given)):
        said = np.zeros(90, bool)
        said[right[row][is_right[row]].numpy()] = True
        expected = average_precision_score(said, np.maximum(given[row].numpy(), -1)) if said.any() else 0.0
        assert float(found[row]) == pytest.approx(expected, abs=1e-6)
