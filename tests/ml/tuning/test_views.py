"""Views show parts of an image: the same for the same seed, other ones for another, and nothing that was not there."""

import numpy as np

from ml.tuning.views import views


def smooth(side: int = 64) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side]
    return np.stack([3 * rows, 3 * columns, np.full_like(rows, 90)], axis=-1).astype(np.uint8)


def test_the_same_seed_gives_the_same_views_and_each_view_differs() -> None:
    drawn = views(smooth(), 6, seed=3)
    assert drawn.shape == (6, 64, 64, 3) and drawn.dtype == np.uint8
    assert np.array_equal(drawn, views(smooth(), 6, seed=3))
    assert not np.array_equal(drawn, views(smooth(), 6, seed=4))
    assert len({view.tobytes() for view in drawn}) == 6


def test_colours_stay_what_they_are() -> None:
    for view in views(smooth(), 8, seed=0):
        inside = view[view[:, :, 2] > 0]  # corners of a turned view may lie outside of the image
        assert len(inside) > 0.7 * 64 * 64
        assert set(np.unique(inside[:, 2])) <= {89, 90, 91}


def test_views_show_small_and_large_parts_and_mirror_some() -> None:
    drawn = views(smooth(), 60, seed=1).astype(int)
    middle = drawn[:, 31:34, 31:34]
    step = middle[:, 1, 2, 1] - middle[:, 1, 0, 1]  # what two columns of the view cross in the image, times 3
    assert min(step) < -1 and max(step) > 1
    assert max(abs(step)) > 2 * np.median(abs(step)) * 0.8
