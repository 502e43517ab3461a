"""How true probabilities are: figures as the definitions have them, intervals over classes."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, precision_score, recall_score

from ml.statistics.reliability import Judged


def _judged(classes=20, each=30, seed=0):
    """Probabilities that are half a logit too sure, more so in some classes than in others."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    logit = random.normal(0, 2, len(labels)) + random.normal(0, 1, classes)[labels]
    said = 1 / (1 + np.exp(-logit - 0.5))
    return Judged(said, random.random(len(labels)) < 1 / (1 + np.exp(-logit)), labels, 0.6)


def test_figures_are_those_of_scikit_learn():
    judged = _judged()
    figures, same = judged.figures(), judged.said >= 0.6
    assert figures["precision"] == pytest.approx(precision_score(judged.is_right, same))
    assert figures["recall"] == pytest.approx(recall_score(judged.is_right, same))
    assert figures["brier"] == pytest.approx(brier_score_loss(judged.is_right, judged.said))


def test_the_curve_is_that_of_scikit_learn_and_its_gaps_are_the_error():
    judged = _judged()
    right, said = calibration_curve(judged.is_right, judged.said, n_bins=10)
    curve = judged.curve()
    assert curve["said"] == pytest.approx(said) and curve["right"] == pytest.approx(right)
    assert sum(curve["count"]) == len(judged)
    error = np.average(np.abs(said - right), weights=curve["count"])
    assert judged.figures()["ece"] == pytest.approx(error) and error > 0.03


def test_intervals_are_of_draws_of_whole_classes():
    """Thirty photos of each class that agree completely are no more than one."""
    once = _judged(each=1)
    often = Judged(*(np.repeat(each, 30) for each in (once.said, once.is_right, once.labels)), 0.6)
    assert {name: pytest.approx(ends) for name, ends in often.intervals().items()} == once.intervals()
    for name, (low, high) in often.intervals().items():
        assert low < high, name
        assert low <= often.figures()[name] <= high or name == "ece"
    for low, right, high in zip(*(_judged().curve()[key] for key in ("low", "right", "high")), strict=True):
        assert low <= right <= high


def test_what_nobody_said_has_no_precision_and_one_class_no_interval():
    none = Judged(np.array([0.1, 0.2]), np.array([False, False]), np.array([0, 1]), 0.6)
    assert none.figures()["precision"] == none.figures()["recall"] == 0
    assert "precision" not in none.intervals() and "ece" in none.intervals()
    one = Judged(np.array([0.1, 1.0]), np.array([False, True]), np.array([0, 0]), 0.6)
    assert one.intervals() == {} and one.curve()["high"] == [1.0, 1.0]
