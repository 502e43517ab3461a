"""Charts: well-formed SVG whose text is escaped, whatever the values."""

import math
from xml.etree import ElementTree

import numpy as np
import pytest

from ml.evaluation import charts


def _parsed(chart):
    return ElementTree.fromstring(f"<div>{chart}</div>")


@pytest.mark.parametrize("y", [[0.5, 0.9, 1.0], [1.0, 1.0, 1.0], [math.nan, 2.0, 3.0]])
def test_a_curve_has_a_dot_for_every_known_value(y):
    root = _parsed(charts.lines([("<a>&", [1, 2, 4], y)], x="k", y="r", is_log_x=True))
    assert len(root.findall(".//circle")) == sum(math.isfinite(value) for value in y)
    assert root.find(".//circle/title").text.startswith("<a>&")


def test_bars_of_a_histogram_add_up_to_one():
    edges = np.linspace(0, 1, 101)
    counts = np.random.default_rng(0).integers(0, 9, 100)
    root = _parsed(
        charts.histograms(edges, [("one", counts), ("two", counts[::-1])], x="x", mark=(0.7, "here"), bins=20)
    )
    heights = [float(bar.get("height")) for bar in root.findall(".//rect")]
    assert len(heights) == 40
    assert "here" in "".join(root.itertext())
    tallest = counts.reshape(20, 5).sum(1).max() / counts.sum()
    assert sum(heights[:20]) / max(heights) == pytest.approx(1 / tallest, rel=0.01)


def test_a_map_names_its_groups_and_stays_within_its_frame():
    points = np.random.default_rng(0).normal(size=(30, 2)) * 1e6
    root = _parsed(charts.scatter(points, np.arange(30) % 3, ["a<b", "c", "d" * 50]))
    at = [(float(dot.get("cx")), float(dot.get("cy"))) for dot in root.findall(".//circle")]
    assert len(at) == 30
    assert all(0 <= x <= 900 and 0 <= y <= 560 for x, y in at)
    assert any(text.text == "a<b" for text in root.findall(".//text"))


def test_nothing_to_draw_draws_nothing():
    assert charts.lines([("a", [], [])], x="x", y="y") == ""
    assert charts.histograms(np.arange(3.0), [("a", np.zeros(2))], x="x") == ""
    assert charts.scatter(np.empty((0, 2)), np.empty(0, int), []) == ""
