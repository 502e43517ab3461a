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
from ml.sweeps.record import Record, Setting, Trial

_GOOD, _CUT, _SOFT = "#0c7f74", "#e0703f", "#9aa0a6"
_NEAR = 0.01  # settings within a point of the best are as good as it


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
        settings=record.settings(),
        trials=list(record.trials.values()),
        failed=[trial for trial in record.trials.values() if trial.state == "failed"],
        charts=[(chart.title, chart.about, _uri(_figure(chart))) for chart in charts],
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
    settings = [setting for setting in record.settings() if not _is_nan(_known(setting))]
    if not settings:
        return []
    names = [name for name in _names(record) if len({str(s.settings.get(name)) for s in settings}) > 1]
    charts = [Chart(f"mAP@R by {name}", "One dot a trial; hollow: ended early.", _by(record, name)) for name in names]
    if len(names) > 1:
        about = "One line a setting, from its hyper-parameters to its mAP@R; the darker, the better."
        charts.append(Chart("All settings", about, lambda axes: _parallel(axes, settings, names), 9.0))
    weights = importance(settings, names)
    if weights:
        about = "How much of the differences a random forest attributes to each hyper-parameter."
        charts.append(Chart("Importance", about, lambda axes: _bars(axes, weights)))
    if any(len(trial.history) > 1 for trial in record.trials.values()):
        about = "mAP@R of held-out classes after each epoch; a cross marks where ASHA ended a trial."
        charts.append(Chart("Learning curves", about, lambda axes: _curves(axes, list(record.trials.values())), 9.0))
    charts.append(Chart("Cost against quality", "One dot a setting.", lambda axes: _cost(axes, settings)))
    return charts


def importance(settings: Sequence[Setting], names: Sequence[str]) -> dict[str, float]:
    """Shares of each hyper-parameter, from a random forest on all settings, summing to 1; nothing below four settings.

    Args:
        settings: tried ones.
        names: of hyper-parameters that vary.
    """
    values = np.array([_known(setting) for setting in settings])
    if len(settings) < 4 or not names or np.ptp(values) < 1e-9:
        return {}
    from sklearn.ensemble import RandomForestRegressor

    columns = np.array([[_place(settings, name, setting) for name in names] for setting in settings])
    forest = RandomForestRegressor(200, random_state=0, min_samples_leaf=1).fit(columns, values)
    ranked = sorted(zip(names, forest.feature_importances_, strict=True), key=lambda pair: -pair[1])
    return {name: float(share) for name, share in ranked}


def advice(record: Record) -> list[str]:
    """What to try next time, one sentence each."""
    ranked = [setting for setting in record.settings() if setting.done]
    if not ranked:
        return ["No trial went to the end: read the reasons below and the logs in the sweep's folder."]
    best, found = ranked[0], []
    for name, dimension in record.plan["space"].items():
        value = best.settings.get(name)
        found += _at_edge(name, value, dimension)
    names = [name for name in _names(record) if len({str(s.settings.get(name)) for s in record.settings()}) > 1]
    weights = importance([s for s in record.settings() if not _is_nan(_known(s))], names)
    for name, share in weights.items():
        if share < 0.05:
            found.append(f"Leave {name} at {_text(best.settings[name])}: it made hardly any difference.")
    near = [setting for setting in ranked[1:] if setting.map_at_r >= best.map_at_r - _NEAR]
    repeats = record.plan.get("repeats", 1)
    if near and repeats < 3:
        found.append(f"Add --repeats 3: {len(near)} settings lie within a point of the best, which may be luck.")
    last = [trial.history for trial in best.done if len(trial.history) > 1]
    if last and last[0][-1]["map_at_r"] > last[0][-2]["map_at_r"] + 0.005:
        found.append("Add epochs: the best trial was still getting better in its last one.")
    return found or ["Nothing stands out: the best setting lies inside the space and the curves have levelled off."]


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
        return [f"Try {name} below {_text(low)}: the best setting lies at the lower edge of the space."]
    if value == high:
        return [f"Try {name} above {_text(high)}: the best setting lies at the upper edge of the space."]
    return []


def _by(record: Record, name: str) -> Callable[[Axes], None]:
    trials = [trial for trial in record.trials.values() if not _is_nan(trial.last_map_at_r)]

    def draw(axes: Axes) -> None:
        values = [trial.settings.get(name) for trial in trials]
        is_number = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        kinds = sorted({str(value) for value in values})
        xs = [float(value) if is_number else kinds.index(str(value)) for value in values]  # type: ignore[arg-type]
        for x, trial in zip(xs, trials, strict=True):
            is_done = trial.state == "done"
            axes.plot(x, 100 * trial.last_map_at_r, "o", color=_GOOD if is_done else _CUT, mfc=None if is_done else "w")
        if is_number and min(xs) > 0 and max(xs) / min(xs) >= 8:
            axes.set_xscale("log")
        if not is_number:
            axes.set_xticks(range(len(kinds)), [_plain(kind) for kind in kinds])
        axes.set(xlabel=name, ylabel="held-out mAP@R, %")

    return draw


def _parallel(axes: Axes, settings: Sequence[Setting], names: Sequence[str]) -> None:
    values = np.array([_known(setting) for setting in settings])
    low, high = values.min(), max(values.max(), values.min() + 1e-9)
    for setting, value in sorted(zip(settings, values, strict=True), key=lambda pair: pair[1]):
        share = (value - low) / (high - low)
        ys = [_place(settings, name, setting, spread=True) for name in names] + [share]
        axes.plot(range(len(ys)), ys, color=_GOOD, alpha=0.15 + 0.85 * share, linewidth=1 + 2 * share)
    for number, name in enumerate(names):
        for setting in settings:
            y = _place(settings, name, setting, spread=True)
            axes.annotate(_plain(_text(setting.settings.get(name))), (number, y), fontsize=7, color="#444")
    axes.set_xticks(range(len(names) + 1), [*names, "mAP@R"])
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
        is_cut = trial.state == "cut"
        axes.plot(epochs, values, color=_CUT if is_cut else _GOOD, alpha=0.8, marker=".")
        if is_cut:
            axes.plot(epochs[-1], values[-1], "x", color=_CUT, markersize=9, markeredgewidth=2)
    axes.set(xlabel="epoch", ylabel="held-out mAP@R, %")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _cost(axes: Axes, settings: Sequence[Setting]) -> None:
    for setting in settings:
        axes.plot(setting.seconds, 100 * _known(setting), "o", color=_GOOD if setting.done else _CUT)
    axes.set(xlabel="seconds of all its trials", ylabel="held-out mAP@R, %")


def _place(settings: Sequence[Setting], name: str, setting: Setting, *, spread: bool = False) -> float:
    """A value as a number: itself or its logarithm, or its position among words; `spread`: within 0..1."""
    values = [one.settings.get(name) for one in settings]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        numbers = [float(value) for value in values]  # type: ignore[arg-type]
        is_log = min(numbers) > 0 and max(numbers) / min(numbers) >= 8
        place = [math.log(number) if is_log else number for number in numbers]
        own = float(setting.settings[name])
        own = math.log(own) if is_log else own
    else:
        kinds = sorted({str(value) for value in values})
        place, own = list(range(len(kinds))), kinds.index(str(setting.settings.get(name)))
    return (own - min(place)) / max(max(place) - min(place), 1e-12) if spread else own


def _known(setting: Setting) -> float:
    if setting.done:
        return setting.map_at_r
    return max((t.last_map_at_r for t in setting.trials if not _is_nan(t.last_map_at_r)), default=math.nan)


def _names(record: Record) -> list[str]:
    return list(record.plan["space"])


def _figure(chart: Chart) -> Figure:
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
