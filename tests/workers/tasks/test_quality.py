import numpy as np
import pytest

from ml.data.seen_photos import packed
from workers.tasks.quality import choose, mean_average_precision_at_r


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_figure_of_the_evaluation(seed: int) -> None:
    torch = pytest.importorskip("torch")
    from ml.evaluation import metrics

    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 30, 200)  # some labels occur once
    vectors = rng.choice([-1.0, 1.0], (200, 16)).astype(np.float32) / 4  # exact products, many of them equal
    expected = metrics.mean_average_precision_at_r(torch.from_numpy(vectors), torch.from_numpy(labels))
    assert mean_average_precision_at_r(vectors, labels) == pytest.approx(expected, abs=1e-6)


def test_a_known_ranking_has_its_known_figure() -> None:
    angles = np.array([0.0, 0.1, 0.3, 2.0, 2.2, 4.0])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)

    labels = np.array([0, 0, 1, 1, 2, 2])
    # row 0: nearest is 1, right. row 1: nearest is 0, right. row 2: nearest is 1, wrong. row 3: 4, wrong.
    # row 4: nearest is 3, wrong. row 5: nearest is 4, right.
    assert mean_average_precision_at_r(vectors, labels) == pytest.approx(3 / 6)


def test_labels_that_occur_once_are_left_out_and_nothing_else_is_refused() -> None:
    vectors = np.eye(3, dtype=np.float32)[[0, 0, 1]]
    assert mean_average_precision_at_r(vectors, np.array([7, 7, 9])) == 1.0
    with pytest.raises(ValueError, match="no label occurs twice"):
        mean_average_precision_at_r(vectors, np.array([1, 2, 3]))


def _spread(first):
    """Ids that differ in the digits that are looked at."""
    return f"{first:016x}{0:016x}"


def _labelled(**labels):
    return [(label, [_spread(number) for number in numbers]) for label, numbers in labels.items()]


def _trained(*numbers, held_out=()):
    return {"config": {}, "data": {"photos": packed(map(_spread, numbers))}, "held_out_classes": list(held_out)}


def test_models_are_compared_on_photos_that_neither_was_trained_on():
    labelled = _labelled(lime=[1, 2, 3, 4], lemon=[5, 6, 7, 8], pear=[9, 10])
    chosen = choose(labelled, _trained(1, 2, 5, 6, 9), _trained(1, 5, 10), most=100)
    assert chosen.photos == [(_spread(n), "lime") for n in (3, 4)] + [(_spread(n), "lemon") for n in (7, 8)]
    assert "4 photos that neither model was trained on" in chosen.about


def test_held_out_classes_count_as_new():
    labelled = _labelled(lime=[1, 2], lemon=[5, 6], pear=[9, 10])
    new = _trained(1, 2, 5, 6, 9, 10, held_out=["lime", "pear"])
    assert {label for _, label in choose(labelled, new, {}, most=100).photos} == {"lime", "pear"}


def test_what_the_figure_cannot_tell_is_said():
    labelled = _labelled(lime=[1, 2], lemon=[5, 6])
    chosen = choose(labelled, _trained(1, 2, 5, 6), {}, most=100)
    assert len(chosen.photos) == 4 and "was trained on most of them" in chosen.about
    from_before = {"config": {}, "data": {"name": "photos"}}
    assert "not known" in choose(labelled, from_before, {}, most=100).about


def test_no_more_photos_are_chosen_than_asked_for():
    labelled = _labelled(**{f"l{n}": range(10 * n, 10 * n + 10) for n in range(20)})
    assert len(choose(labelled, {}, {}, most=30).photos) == 30
