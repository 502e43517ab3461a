"""Plots show what they are given, and the viewer never takes a label for HTML."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml.notebook import plots


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    made = []
    for number in range(4):
        made.append(tmp_path / f"{number}.png")
        Image.new("RGB", (40 + number, 30), (60 * number, 90, 120)).save(made[-1])
    return made


def test_a_ranked_grid_names_similarity_and_distance(paths: list[Path]) -> None:
    figure = plots.ranked_grid(paths[0], paths[1:], [0.9, 0.5, -1.0], is_right=[True, False, False], columns=2)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["query", "1: 0.90, L2 0.45", "2: 0.50, L2 1.00", "3: -1.00, L2 2.00"]


def test_a_grid_refuses_lengths_that_differ(paths: list[Path]) -> None:
    with pytest.raises(ValueError, match="3 results, 1 similarities"):
        plots.ranked_grid(paths[0], paths[1:], [0.9])


def test_a_comparative_set_shows_the_positive_wherever_it_ranks(paths: list[Path]) -> None:
    figure = plots.comparative_set(paths[0], paths[1], paths[2:], [0.1, 0.9, 0.8], shown=2)
    assert [axes.get_title() for axes in figure.axes] == ["query", "negative: 0.90", "positive: 0.10"]
    assert figure.get_suptitle() == "the positive has rank 3 of 3"


def test_a_recall_curve_has_a_line_for_each_model() -> None:
    figure = plots.recall_curve({"a": {1: 0.5, 4: 0.75}, "b": {1: 0.6, 4: 1.0}})
    lines = {line.get_label(): list(line.get_ydata()) for line in figure.axes[0].lines}
    assert lines == {"a": [50, 75], "b": [60, 100]}


def test_a_grid_of_classes_has_a_row_for_each_with_its_name(paths: list[Path]) -> None:
    figure = plots.class_grid({"a-long-name-of-a-class": paths[:3], "b": paths[3:]})
    names = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert names == ["a long name of a\nclass", "b"]
    assert [len(axes.images) for axes in figure.axes] == [0, 1, 1, 1, 0, 1, 0, 0]


def test_a_grid_of_classes_needs_images() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        plots.class_grid({"a": []})


def test_a_rank_histogram_counts_every_set() -> None:
    figure = plots.rank_histogram(np.array([1, 1, 3, 100]))
    heights = [patch.get_height() for patch in figure.axes[0].patches]
    assert (heights[0], heights[2], heights[99], sum(heights)) == (2, 1, 1, 4)


def test_bars_have_their_values() -> None:
    figure = plots.bars({"x": 1.5, "y": 2.5}, label="mAP@R", spread={"x": 0.1})
    assert [patch.get_width() for patch in figure.axes[0].patches] == [1.5, 2.5]


def test_the_viewer_knows_the_neighbours_and_takes_no_label_for_html(paths: list[Path], tmp_path: Path) -> None:
    vectors = np.array([[1, 0], [0.8, 0.6], [0, 1], [0.6, 0.8]], np.float32)
    hostile = "</script><script>alert(1)</script>"
    page = plots.viewer(paths, [hostile, "b", "c", "d"], vectors, k=2).save(tmp_path / "viewer.html").read_text("utf-8")
    assert hostile not in page and page.count("<script>") == 1
    facts = json.loads(re.search(r"const facts = (.*);\n", page)[1])  # type: ignore[index]
    assert facts[0]["label"] == hostile
    assert [neighbour for neighbour, _ in facts[0]["nearest"]] == [1, 3]


def test_a_notebook_shows_the_viewer_in_a_frame_of_its_own(paths: list[Path]) -> None:
    shown = plots.viewer(paths, list("abcd"), np.eye(4, dtype=np.float32))._repr_html_()
    assert shown.startswith("<iframe srcdoc=") and "<script>" not in shown
