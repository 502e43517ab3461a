"""Intervals over classes: they agree with SciPy's bootstrap, hold the truth as often as they say, and pair models."""

import numpy as np
import pytest
import torch
from scipy import stats

from ml.evaluation.metrics import evaluate_retrieval
from ml.statistics.uncertainty import ByClass, difference, interval, intervals, is_beyond_chance


def _figure(random, classes=30, each=8, spread=0.2, shift=0.0):
    labels = np.repeat(np.arange(classes), each)
    values = 0.5 + shift + random.normal(0, spread, classes)[labels] + random.normal(0, 0.05, len(labels))
    return ByClass.of(values, labels, np.ones(len(labels), bool))


def test_the_interval_is_that_of_scipy():
    random = np.random.default_rng(1)
    figure = ByClass(*_figure(random).__dict__.values())

    def ratio(sums, counts, axis):
        return sums.sum(axis) / counts.sum(axis)

    theirs = stats.bootstrap(
        (figure.sums, figure.counts),
        ratio,
        paired=True,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert interval(figure) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_it_holds_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(2)
    found = [interval(_figure(random)) for _ in range(200)]
    assert 0.88 <= np.mean([low <= 0.5 <= high for low, high in found]) <= 0.99


def test_photos_of_one_class_are_not_taken_for_independent():
    few, many = (_figure(np.random.default_rng(3), each=each) for each in (4, 400))
    widths = [high - low for low, high in (interval(few), interval(many))]
    assert widths[1] > 0.7 * widths[0], "a hundred times as many photos of the same classes say little more"


def test_models_are_compared_in_the_same_draws():
    first = _figure(np.random.default_rng(4), shift=0.02)
    second = _figure(np.random.default_rng(4))  # the same classes are hard for both
    gain, (low, high) = difference(first, second)
    assert gain == pytest.approx(0.02) and low > 0.015 and high < 0.025
    assert is_beyond_chance(first, second) and not is_beyond_chance(first, first)
    alone = interval(first)
    assert alone[1] - alone[0] > 10 * (high - low)


def test_figures_of_other_photos_are_not_compared():
    random = np.random.default_rng(5)
    with pytest.raises(ValueError, match="different photos"):
        difference(_figure(random), _figure(random, each=9))


def test_one_class_has_no_interval():
    figure = ByClass(np.array([3.0, 0.0]), np.array([4.0, 0.0]))
    assert interval(figure) is None and intervals({"map@r": figure}) == {}


def test_a_retrievals_figures_are_the_means_of_their_queries():
    random = torch.Generator().manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(40, 8, generator=random), dim=1)
    labels = torch.arange(40) % 7
    labels[0] = 99  # alone: it has no answer
    found = evaluate_retrieval(vectors, labels, ks=(1, 4))
    figures = found.by_class(labels)
    expected = {"map@r": found.map_at_r, "map": found.mean_average_precision, "r_precision": found.r_precision}
    expected |= {f"recall@{k}": value for k, value in found.recall.items()}
    expected |= {f"precision@{k}": value for k, value in found.precision.items()}
    assert {name: figure.mean for name, figure in figures.items()} == pytest.approx(expected, abs=1e-6)
