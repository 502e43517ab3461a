"""A curve as a small SVG: logarithmic axes, a line per series, its exponent in the legend."""

import math
from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot, ticker

from benchmarks.suite.record import Curve

_COLOURS = ("#0b6e99", "#d9730d", "#448361", "#9065b0", "#c14c8a", "#787774")


def draw(curve: Curve, path: Path) -> None:
    """Writes the plot; the same curve gives the same bytes."""
    from benchmarks.suite.page import exponent

    with pyplot.rc_context({"svg.hashsalt": "lookalike", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure, axes = pyplot.subplots(figsize=(6.4, 3.6), layout="constrained")
        for colour, (name, points) in zip(_COLOURS, curve.series.items(), strict=False):
            slope = exponent(points)
            said = name if slope is None else f"{name}: size^{slope:.2f}"
            axes.plot(*zip(*points, strict=True), "o-", color=colour, label=said, linewidth=1.8, markersize=4)
        axes.set(xscale="log", yscale="log", xlabel=curve.x, ylabel=curve.y, title=curve.what)
        sizes = sorted({x for points in curve.series.values() for x, _ in points})
        axes.set_xticks(sizes, [_tick(size) for size in sizes])
        axes.xaxis.set_minor_locator(ticker.NullLocator())
        axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: _tick(value)))
        axes.yaxis.set_minor_locator(ticker.NullLocator())
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize="small")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None})
        pyplot.close(figure)


def _tick(value: float) -> str:
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:g} {unit}"
    digits = max(0, 1 - math.floor(math.log10(value))) if value < 10 else 0
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:.0f}"
