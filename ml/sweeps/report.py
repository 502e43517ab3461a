"""What a sweep found, as one HTML page that opens offline and as an image.

The page holds no scripts and loads nothing. Names of data sets and reasons of failures come from strangers: the
template escapes everything.
"""

import base64
import io
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ml import files
from ml.errors import LookalikeError
from ml.sweeps.record import Configuration, Record, Trial

_GOOD, _PRUNED, _SOFT = "#0c7f74", "#e0703f", "#9aa0a6"
_HELD_OUT = {"classes": "held-out classes", "images": "held-out photos", "val": "the table's val rows"}
_MARKED = 6  # so many numbers of a grid each have a mark of their own
_NEAR = 0.01  # configurations within a point of the best are as good as it


@dataclass(frozen=True)
class Chart:
    """A chart of the page: title, what it shows, and how to draw it."""

    title: str
    about: str
    draw: Callable[[Axes], None]
    width: float = 6.4


def write(record: Record, file: Path) -> Path:
    """Writes the page, and beside it a PNG of its charts. Returns the PNG's path.

    Raises:
        LookalikeError: they cannot be written.
    """
    charts = charts_of(record)
    environment = Environment(
        loader=PackageLoader("ml", "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["percent"] = lambda value: "–" if _is_nan(value) else f"{100 * value:.1f}"
    environment.filters["value"] = _text
    page = environment.get_template("sweep.html").render(
        name=record.directory.name,
        plan=record.plan,
        names=_names(record),
        configurations=record.configurations(),
        measured=_measured(record),
        trials=_chosen_by(record),
        measurements=[trial for trial in record.trials.values() if record.is_measurement(trial)],
        held_out=_HELD_OUT.get(record.plan.get("held_out", ""), "what was held out"),
        level=record.level(),
        test=record.plan.get("test"),
        charts=[(chart.title, chart.about, _uri(figure_of(chart))) for chart in charts],
        advice=advice(record),
        seconds=sum(trial.seconds for trial in record.trials.values()),
        made_at=time.strftime("%Y-%m-%d %H:%M"),
    )
    image = file.with_suffix(".png")
    _replace(file, page.encode("utf-8", "replace"))
    _replace(image, _png(_together(charts)))
    return image


def charts_of(record: Record) -> list[Chart]:
    """The charts that this record has the facts for."""
    configurations = [
        configuration for configuration in record.configurations() if not _is_nan(configuration.known_map_at_r)
    ]
    if not configurations:
        return []
    names = [name for name in _names(record) if len({str(s.settings.get(name)) for s in configurations}) > 1]
    charts = [Chart(f"mAP@R by {name}", "One dot per trial; hollow: ended early.", _by(record, name)) for name in names]
    if len(names) > 1:
        about = (
            "One line per configuration, from its hyper-parameters to its mAP@R, where higher is better, as darker is."
        )
        charts.append(Chart("All configurations", about, lambda axes: _parallel(axes, configurations, names), 9.0))
    weights = importance(configurations, names)
    if weights:
        about = "How much of the differences a random forest attributes to each hyper-parameter."
        charts.append(Chart("Importance", about, lambda axes: _bars(axes, weights)))
    trials = _chosen_by(record)
    if any(len(trial.history) > 1 for trial in trials):
        about = "Held-out mAP@R after each epoch, before the head is fitted; a cross marks where ASHA ended a trial."
        charts.append(Chart("Learning curves", about, lambda axes: _curves(axes, trials), 9.0))
    charts.append(Chart("Cost against quality", "One dot per configuration.", lambda axes: _cost(axes, configurations)))
    return charts


def importance(configurations: Sequence[Configuration], names: Sequence[str]) -> dict[str, float]:
    """Shares of each hyper-parameter, from a random forest on all configurations, summing to 1; empty for
    fewer than four.

    Args:
        configurations: tried ones.
        names: of hyper-parameters that vary.
    """
    values = np.array([configuration.known_map_at_r for configuration in configurations])
    if len(configurations) < 4 or not names or np.ptp(values) < 1e-9:
        return {}
    from sklearn.ensemble import RandomForestRegressor

    columns = np.array(
        [[_place(configurations, name, configuration) for name in names] for configuration in configurations]
    )
    forest = RandomForestRegressor(200, random_state=0, min_samples_leaf=1).fit(columns, values)
    ranked = sorted(zip(names, forest.feature_importances_, strict=True), key=lambda pair: -pair[1])
    return {name: float(share) for name, share in ranked}


def advice(record: Record) -> list[str]:
    """What to try next time, one sentence each."""
    ranked = [configuration for configuration in record.configurations() if configuration.is_complete]
    if not ranked:
        missing = "No setting went to the end with all of its repeats"
        return [f"{missing}: read the reasons below and the logs in the sweep's folder."]
    best, suggestions = ranked[0], []
    for name, dimension in record.plan["space"].items():
        value = best.settings.get(name)
        suggestions += _at_edge(name, value, dimension)
    names = [name for name in _names(record) if len({str(s.settings.get(name)) for s in record.configurations()}) > 1]
    weights = importance([s for s in record.configurations() if not _is_nan(s.known_map_at_r)], names)
    for name, share in weights.items():
        if share < 0.05:
            suggestions.append(f"Leave {name} at {_text(best.settings[name])}: it made hardly any difference.")
    near = [configuration for configuration in ranked[1:] if configuration.map_at_r >= best.map_at_r - _NEAR]
    repeats = record.plan.get("repeats", 1)
    if near and repeats < 3:
        suggestions.append(
            f"Add --repeats 3: {len(near)} configurations lie within a point of the best, which may be luck."
        )
    last = [trial.history for trial in best.done if len(trial.history) > 1]
    if last and last[0][-1]["map_at_r"] > last[0][-2]["map_at_r"] + 0.005:
        suggestions.append("Add epochs: the best trial was still getting better in its last one.")
    return suggestions or [
        "Nothing stands out: the best configuration lies inside the space and the curves have levelled off."
    ]


def _at_edge(name: str, value: Any, dimension: Any) -> list[str]:
    if isinstance(dimension, list):
        numbers = [item for item in dimension if isinstance(item, int | float) and not isinstance(item, bool)]
        if len(numbers) < 2 or len(numbers) != len(dimension):
            return []
        low, high = min(numbers), max(numbers)
    else:
        low, high = dimension["low"], dimension["high"]
        if dimension["is_log"]:
            if value <= low * (high / low) ** 0.1:
                value = low
            elif value >= low * (high / low) ** 0.9:
                value = high
    if value == low:
        return [f"Try {name} below {_text(low)}: the best configuration lies at the lower edge of the space."]
    if value == high:
        return [f"Try {name} above {_text(high)}: the best configuration lies at the upper edge of the space."]
    return []


def _by(record: Record, name: str) -> Callable[[Axes], None]:
    trials = [trial for trial in _chosen_by(record) if not _is_nan(trial.last_map_at_r)]

    def draw(axes: Axes) -> None:
        values = [trial.settings.get(name) for trial in trials]
        is_number = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        kinds = sorted({str(value) for value in values})
        xs = [float(value) if is_number else kinds.index(str(value)) for value in values]  # type: ignore[arg-type]
        for x, trial in zip(xs, trials, strict=True):
            is_done = trial.state == "done"
            axes.plot(
                x, 100 * trial.last_map_at_r, "o", color=_GOOD if is_done else _PRUNED, mfc=None if is_done else "w"
            )
        if is_number and min(xs) > 0 and max(xs) / min(xs) >= 8:
            axes.set_xscale("log")
        tried = sorted(set(xs))
        if is_number and len(tried) <= _MARKED:
            axes.set_xticks(tried, [f"{value:.4g}" for value in tried])
            axes.minorticks_off()
        if not is_number:
            axes.set_xticks(range(len(kinds)), [_plain(kind) for kind in kinds])
        axes.set(xlabel=name, ylabel="held-out mAP@R, %")

    return draw


def _parallel(axes: Axes, configurations: Sequence[Configuration], names: Sequence[str]) -> None:
    values = np.array([configuration.known_map_at_r for configuration in configurations])
    low, high = values.min(), max(values.max(), values.min() + 1e-9)
    for configuration, value in sorted(zip(configurations, values, strict=True), key=lambda pair: pair[1]):
        share = (value - low) / (high - low)
        ys = [_place(configurations, name, configuration, spread=True) for name in names] + [share]
        axes.plot(range(len(ys)), ys, color=_GOOD, alpha=0.15 + 0.85 * share, linewidth=1 + 2 * share)
    for number, name in enumerate(names):
        for configuration in configurations:
            y = _place(configurations, name, configuration, spread=True)
            axes.annotate(_plain(_text(configuration.settings.get(name))), (number, y), fontsize=7, color="#444")
    last = len(names)
    for y, value in ((0, low), (1, high)):
        axes.annotate(f"{100 * value:.1f} %", (last, y), xytext=(6, -3), textcoords="offset points", fontsize=8)
    axes.annotate(
        "better", (last, 0.75), (last, 0.25), arrowprops={"arrowstyle": "->", "color": "#444"}, fontsize=8, ha="center"
    )
    axes.set_xticks(range(last + 1), [*names, "mAP@R"])
    axes.set_xlim(-0.1, last + 0.35)  # room for the figures
    axes.set_yticks([])


def _bars(axes: Axes, weights: dict[str, float]) -> None:
    names = list(weights)[::-1]
    axes.barh(names, [100 * weights[name] for name in names], color=_GOOD)
    axes.set_xlabel("share, %")


def _curves(axes: Axes, trials: Sequence[Trial]) -> None:
    for trial in trials:
        if not trial.history:
            continue
        epochs = [item["epoch"] for item in trial.history]
        values = [math.nan if item["map_at_r"] is None else 100 * item["map_at_r"] for item in trial.history]
        is_pruned = trial.state == "pruned"
        axes.plot(epochs, values, color=_PRUNED if is_pruned else _GOOD, alpha=0.8, marker=".")
        if is_pruned:
            axes.plot(epochs[-1], values[-1], "x", color=_PRUNED, markersize=9, markeredgewidth=2)
    axes.set(xlabel="epoch", ylabel="held-out mAP@R, %")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _cost(axes: Axes, configurations: Sequence[Configuration]) -> None:
    for configuration in configurations:
        axes.plot(
            configuration.seconds,
            100 * configuration.known_map_at_r,
            "o",
            color=_GOOD if configuration.is_complete else _PRUNED,
        )
    axes.set(xlabel="seconds of all its trials", ylabel="held-out mAP@R, %")


def _place(
    configurations: Sequence[Configuration], name: str, configuration: Configuration, *, spread: bool = False
) -> float:
    """A value as a number: itself or its logarithm, or its position among words; `spread`: within 0..1."""
    values = [one.settings.get(name) for one in configurations]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        numbers = [float(value) for value in values]  # type: ignore[arg-type]
        is_log = min(numbers) > 0 and max(numbers) / min(numbers) >= 8
        place = [math.log(number) if is_log else number for number in numbers]
        own = float(configuration.settings[name])
        own = math.log(own) if is_log else own
    else:
        kinds = sorted({str(value) for value in values})
        place, own = list(range(len(kinds))), kinds.index(str(configuration.settings.get(name)))
    return (own - min(place)) / max(max(place) - min(place), 1e-12) if spread else own


def _measured(record: Record) -> Configuration | None:
    """What the winner reached when it was measured anew; None before that."""
    winner = next((each for each in record.configurations() if each.is_complete), None)
    measured = record.measurements(winner.settings) if winner else None
    return measured if measured and measured.is_complete else None


def _chosen_by(record: Record) -> list[Trial]:
    """Trials that settings are compared by. The winner's measurement is drawn beside none: no other setting has one."""
    return [trial for trial in record.trials.values() if not record.is_measurement(trial)]


def _names(record: Record) -> list[str]:
    return list(record.plan["space"])


def figure_of(chart: Chart) -> Figure:
    """A chart alone."""
    figure = Figure((chart.width, 3.6), layout="constrained")
    axes = figure.subplots()
    _style(axes)
    chart.draw(axes)
    return figure


def _together(charts: Sequence[Chart]) -> Figure:
    rows = max(1, math.ceil(len(charts) / 2))
    figure = Figure((13, 3.8 * rows), layout="constrained")
    grid = figure.subplots(rows, 2, squeeze=False).ravel()
    for axes in grid[len(charts) :]:
        axes.axis("off")
    for axes, chart in zip(grid, charts, strict=False):
        _style(axes)
        axes.set_title(_plain(chart.title), loc="left", fontsize=11, fontweight="bold")
        chart.draw(axes)
    return figure


def _style(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e4df")
    axes.set_axisbelow(True)


def _plain(text: str) -> str:
    return text.replace("$", r"\$")  # matplotlib would read mathematics


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def _is_nan(value: float | None) -> bool:
    return value is None or math.isnan(value)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _uri(figure: Figure) -> str:
    return f"data:image/png;base64,{base64.b64encode(_png(figure)).decode()}"


def _replace(file: Path, content: bytes) -> None:
    try:
        files.write(file, content)
    except OSError as error:
        raise LookalikeError(
            f"the report {file} cannot be written: {error.strerror}", hint="free some space; --resume draws it again"
        ) from error
