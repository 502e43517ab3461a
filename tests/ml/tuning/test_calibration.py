"""Probabilities of hits: true on classes that they were not fitted on, refused where nothing can be known."""

import json

import numpy as np
import pytest

from ml.model.head import unit_length
from ml.statistics.reliability import Judged
from ml.tuning.calibration import Calibration, verdict
from ml.tuning.calibration_fit import TooFewClasses, cross_fitted, fit, fit_for_any, reliability
from workers.process.honesty import _PLAIN


def classes(count: int, each: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around centres that lie two by two beside each other, so that hits are often wrong."""
    dice = np.random.default_rng(seed)
    centres = np.repeat(dice.normal(size=(count // 2, 24)), 2, axis=0) + 0.5 * dice.normal(size=(count, 24))
    rows = np.repeat(centres, each, axis=0) + 0.5 * dice.normal(size=(count * each, 24))
    return unit_length(rows.astype(np.float32)), np.repeat(np.arange(count), each)


def asked(fitted: Calibration, vectors: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of the first six hits and whether they are right, every other class absent."""
    gallery = np.flatnonzero(labels % 4 < 2)
    said, right = [], []
    for row in range(len(vectors)):
        others = gallery[gallery != row]
        order = others[np.argsort(-vectors[others] @ vectors[row])][:30]
        found = fitted.probabilities((vectors[order] @ vectors[row]).tolist(), vectors[order])
        assert found is not None and len(found) == len(order)
        said.append(found[:6])
        right.append(labels[order[:6]] == labels[row])
    return np.array(said), np.array(right)


def around(similarities: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """A query, and hits that are so similar to it and have nothing else in common."""
    vectors = np.eye(len(similarities) + 1)
    similar = np.array(similarities)[:, None]
    return vectors[0], similar * vectors[0] + np.sqrt(1 - similar**2) * vectors[1:]


def test_probabilities_come_true_on_classes_that_were_not_fitted_on() -> None:
    vectors, labels = classes(40)
    fitted = fit(vectors[labels < 24], labels[labels < 24], source="these")
    said, right = asked(fitted, vectors[labels >= 24], labels[labels >= 24])
    asking = labels[labels >= 24]
    assert Judged(said[:, 0], right[:, 0], asking, 0.6).figures()["ece"] < 0.08
    assert Judged(said.ravel(), right.ravel(), np.repeat(asking, 6), 0.6).figures()["ece"] < 0.08
    assert np.square(said[:, 0] - right[:, 0]).mean() < 0.8 * right[:, 0].var()


def test_its_own_figures_are_of_classes_that_it_did_not_see() -> None:
    vectors, labels = classes(24)
    figures = fit(vectors, labels, source="these").figures
    assert figures["precision_low"] < figures["precision"] < figures["precision_high"]
    assert 0 < figures["ece"] < 0.15
    assert figures == reliability(cross_fitted(vectors, labels))
    assert fit(*classes(8), source="few").figures == {}  # too few for halves
    with pytest.raises(TooFewClasses, match="12 classes must have two photos each, 8 do"):
        cross_fitted(*classes(8))


def test_the_query_itself_is_the_same_and_changes_nothing_for_the_others() -> None:
    fitted = fit(*classes(12), source="these")
    similarities = np.linspace(0.9, 0.1, 30).tolist()
    query, hits = around(similarities)
    without = fitted.probabilities(similarities, hits)
    assert fitted.probabilities([1.0, *similarities], np.stack([query, *hits])) == [1.0, *(without or [])]


def test_too_little_to_tell_is_said() -> None:
    with pytest.raises(TooFewClasses, match="6 classes that training did not see must have two photos each, 5 do"):
        vectors, labels = classes(6)
        fit(vectors[labels < 5], labels[labels < 5], source="these")
    with pytest.raises(TooFewClasses):
        fit(*classes(12, each=1), source="these")
    assert fit(*classes(12), source="these").probabilities([0.9, 0.8, 0.7], around([0.9, 0.8, 0.7])[1]) is None


def test_it_survives_json_and_refuses_anything_else() -> None:
    fitted = fit(*classes(12), source="these")
    assert Calibration.from_json(fitted.to_json()) == fitted
    with pytest.raises(ValueError, match="4 or 5 finite weights"):
        Calibration.from_json(fitted.to_json() | {"first": [1, 2, float("nan"), 3]})


def test_one_that_was_stored_before_the_hits_own_neighbours_counted_still_answers():
    before = Calibration.from_json(
        {"first": [18.25, 10.47, 15.72, -16.67], "later": [13.74, -10.57], "classes": 6, "source": "", "figures": {}}
    )
    similarities = [0.9, *np.linspace(0.4, 0.1, 20)]
    likely = before.probabilities(similarities, around(similarities)[1])
    assert likely is not None and likely[0] > 0.9 and likely[1] < 0.1


def test_a_query_that_is_less_near_than_the_hits_own_neighbours_is_less_likely_one_of_them():
    fitted = fit(*classes(40), source="these")
    similarities = [0.7, *np.linspace(0.45, 0.1, 29)]
    apart = around(similarities)[1]
    together = apart.copy()
    together[1:6] = unit_length(0.3 * apart[1:6] + apart[:1])
    one, other = (fitted.probabilities(similarities, hits) for hits in (apart, together))
    assert one is not None and other is not None and other[0] < one[0]


def test_constants_stay_true_where_a_gallery_has_few_photos_of_each_thing():
    """Fitted where each thing has many photos, a first hit is believed too readily."""
    vectors, labels = classes(40, each=20)
    thin = labels >= 20
    few = np.flatnonzero(thin & (labels % 4 < 2))
    gallery = np.concatenate([few[labels[few] == label][:2] for label in np.unique(labels[few])])
    queries = np.setdiff1d(np.flatnonzero(thin), gallery)

    def error(fitted: Calibration) -> float:
        said, right = [], []
        for row in queries:
            order = gallery[np.argsort(-vectors[gallery] @ vectors[row])][:30]
            found = fitted.probabilities((vectors[order] @ vectors[row]).tolist(), vectors[order])
            assert found is not None
            said.append(found[0])
            right.append(labels[order[0]] == labels[row])
        return float(np.square(np.array(said) - np.array(right)).mean())

    known = vectors[~thin], labels[~thin]
    assert error(fit_for_any(*known, source="these")) < 0.8 * error(fit(*known, source="these"))


def test_verdicts_begin_where_they_are_said_to() -> None:
    assert [verdict(value) for value in (0.5, 0.49, 0.25, 0.24)] == ["same", "similar", "similar", "unlikely"]


def test_a_stranger_stays_unlikely_beside_the_query_itself_and_its_like():
    """A small gallery that holds the query: what lies far behind the first hits is no match because they are good."""
    similarities = [1.0, 0.85, 0.83, 0.81, 0.79, 0.77, 0.48, 0.45, *np.linspace(0.4, 0.1, 22)]
    said = _PLAIN.probabilities(similarities, around(similarities)[1])
    assert said is not None
    assert [verdict(each) for each in said[:2]] == ["same", "same"]
    assert all(verdict(each) == "unlikely" for each in said[6:])


def test_a_query_that_is_in_the_gallery_is_judged_by_weights_of_its_own():
    one = Calibration((4.0, 0.0, 0.0, 0.0, -2.0), (4.0, -3.0), 41, "", {}, ((9.0, 0.0, 0.0, 0.0, -8.0), (9.0, -8.0)))
    similarities = np.linspace(0.8, 0.1, 20).tolist()
    query, hits = around(similarities)
    new = one.probabilities(similarities, hits)
    own = one.probabilities([1.0, *similarities], np.stack([query, *hits]))
    assert new is not None and own is not None
    assert new[0] > 0.7 and own[0] == 1.0 and own[1] < 0.4
    assert Calibration.from_json(json.loads(json.dumps(one.to_json()))) == one
    with pytest.raises(ValueError, match="4 or 5 finite weights"):
        Calibration.from_json(one.to_json() | {"of_gallery": [[1, 2], [3, 4]]})
