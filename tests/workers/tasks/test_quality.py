import numpy as np
import pytest

from workers.tasks.quality import mean_average_precision_at_r


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
