"""The report of a sweep: offline, escaped, and with advice that follows from the trials."""

import re

import pytest
from matplotlib.figure import Figure
from PIL import Image

from ml.sweeps.record import Configuration, Record, Trial
from ml.sweeps.report import advice, charts_of, importance, write

SPACE = {
    "lr": {"low": 1e-5, "high": 1e-2, "is_log": True, "is_int": False},
    "loss": ["normsoftmax", "<script>alert(1)</script>"],
}


def _record(folder, values):
    record = Record.new(folder / "sweep", {"space": SPACE, "search": "random", "scheduler": "asha", "repeats": 1})
    for number, (lr, loss, value, state) in enumerate(values):
        trial = record.begin({"lr": lr, "loss": loss}, 0, "<b>photos</b>", "f")
        trial.state, trial.map_at_r = state, value if state == "done" else None
        trial.reason = "<img src=x>" if state == "failed" else ""
        trial.seconds = 10.0 + number
        curve = [0.3, 0.5] if state == "pruned" else [0.3, 0.5, value or 0]
        trial.history = [{"epoch": n, "loss": 1.0, "map_at_r": v, "seconds": n} for n, v in enumerate(curve, 1)]
    return record


@pytest.fixture
def record(tmp_path):
    other = SPACE["loss"][1]
    return _record(
        tmp_path,
        [
            (1e-5, "normsoftmax", 0.5, "done"),
            (1e-4, other, 0.6, "done"),
            (1e-3, "normsoftmax", 0.7, "done"),
            (9e-3, other, 0.8, "done"),
            (2e-4, other, None, "pruned"),
            (3e-4, other, None, "failed"),
        ],
    )


def test_the_page_opens_offline_and_lets_no_text_become_markup(record, tmp_path):
    image = write(record, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "<script" not in page and "<img src=x" not in page and "<b>photos" not in page
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert "default-src 'none'" in page
    assert Image.open(image).size[0] > 800


def test_the_winners_measurement_stands_apart(record, tmp_path):
    record.plan |= {"base": {"seed": 0}, "held_out": "images", "test": {"name": "shelf", "map@r": 0.55}}
    again = record.begin({"lr": 9e-3, "loss": SPACE["loss"][1]}, 1, "<b>photos</b>", "f")
    again.state, again.map_at_r, again.history = "done", 0.9, []
    axes = Figure().subplots()
    next(chart for chart in charts_of(record) if chart.title == "mAP@R by lr").draw(axes)
    assert 90.0 not in [line.get_ydata()[0] for line in axes.lines]
    write(record, tmp_path / "report.html")
    page = " ".join((tmp_path / "report.html").read_text("utf-8").split())
    assert "6</b><span>trials of 6 configurations, and 1 to measure the best anew" in page
    assert "1, measures the best anew" in page
    assert "on held-out photos" in page and "held-out classes" not in page
    assert "55.0 %</b><span>mAP@R of the finished model on the test photos of shelf" in page


def test_every_chart_that_the_trials_allow_is_drawn(record):
    titles = [chart.title for chart in charts_of(record)]
    assert titles == [
        "mAP@R by lr",
        "mAP@R by loss",
        "All configurations",
        "Importance",
        "Learning curves",
        "Cost against quality",
    ]


def test_importance_finds_what_the_figure_depends_on(record):
    weights = importance([s for s in record.configurations() if s.done], ["lr", "loss"])
    assert weights["lr"] > weights["loss"]
    assert sum(weights.values()) == pytest.approx(1)


def test_advice_names_the_edge_that_the_best_setting_lies_at(record):
    assert any("Try lr above 0.01" in sentence for sentence in advice(record))
    assert any("Add epochs" in sentence for sentence in advice(record))


def test_a_sweep_in_which_nothing_ended_has_a_report_too(tmp_path):
    record = _record(tmp_path, [(1e-4, "normsoftmax", None, "failed")])
    record.trials[next(iter(record.trials))].history = []
    write(record, tmp_path / "report.html")
    assert "No setting went to the end" in (tmp_path / "report.html").read_text("utf-8")


def test_parallel_coordinates_say_which_way_is_better(record):
    (chart,) = [chart for chart in charts_of(record) if chart.title == "All configurations"]
    axes = Figure().subplots()
    chart.draw(axes)
    texts = [text.get_text() for text in axes.texts]
    figures = [configuration.known_map_at_r for configuration in record.configurations()]
    known = [value for value in figures if value == value]
    assert {"better", f"{100 * min(known):.1f} %", f"{100 * max(known):.1f} %"} <= set(texts)
    assert "higher is better" in chart.about


def _settings(values, seeds=3, data=("a",)):
    trials = [
        Trial(10 * "a", {"lr": 1}, seed, name, "done", values[seed % len(values)] + offset)
        for seed in range(seeds)
        for offset, name in enumerate(data)
    ]
    return Configuration({"lr": 1}, tuple(trials), len(trials))


def test_settings_are_told_apart_by_their_spread_over_seeds():
    good, close, far = _settings([0.7, 0.8, 0.9]), _settings([0.68, 0.78, 0.88]), _settings([0.4, 0.5, 0.6])
    assert good.deviation == pytest.approx(0.1)
    assert not good.is_told_apart(close) and good.is_told_apart(far)
    assert _settings([0.7], seeds=1).is_told_apart(_settings([0.69], seeds=1)), "nothing is known of the spread"
    assert not _settings([0.7], seeds=1).is_told_apart(_settings([0.7], seeds=1))
    assert _settings([0.7, 0.8, 0.9], data=("a", "b")).deviation == pytest.approx(0.1), "data sets are no spread"
