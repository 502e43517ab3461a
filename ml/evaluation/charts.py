"""Charts as inline SVG: lines, histograms and a scatter, coloured by the page's own style sheet, light or dark.

Everything that is text is escaped here; results are safe to put into a page as they are.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from markupsafe import Markup

_WIDTH, _HEIGHT = 560, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 12, 42

Series = tuple[str, Sequence[float], Sequence[float]]  # name, x, y


def lines(
    series: Sequence[Series], *, x: str, y: str, is_log_x: bool = False, y_range: tuple[float, float] | None = None
) -> Markup:
    """Curves with a dot at every point and the name of each in the legend.

    Args:
        series: the curves.
        x: title of the axis.
        y: title of the axis.
        is_log_x: spread x by powers of two.
        y_range: of the axis; None fits it to the values.
    """
    xs = [value for _, values, _ in series for value in values]
    ys = [value for _, _, values in series for value in values if math.isfinite(value)]
    if not xs or not ys:
        return Markup("")
    x_axis = _Axis(min(xs), max(xs), _LEFT, _WIDTH - _RIGHT, is_log=is_log_x)
    low, high = y_range or _rounded(min(ys), max(ys))
    y_axis = _Axis(low, high, _HEIGHT - _BOTTOM, _TOP)
    ticks = sorted(set(xs)) if len(set(xs)) <= 8 else x_axis.ticks()
    parts = [_frame(x_axis, y_axis, x, y, x_ticks=ticks)]
    for number, (name, x_values, y_values) in enumerate(series):
        points = [(x_axis(a), y_axis(b), b) for a, b in zip(x_values, y_values, strict=True) if math.isfinite(b)]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b, _ in points)
        parts.append(_tag("polyline", class_=f"curve s{number % 6}", points=path))
        for a, b, value in points:
            title = _tag("title", f"{name}: {value:.3f}")
            parts.append(_tag("circle", title, class_=f"dot s{number % 6}", cx=a, cy=b, r=3.2))
    return _svg(parts, f"{y} against {x}", [name for name, _, _ in series])


def histograms(
    edges: np.ndarray,
    sides: Sequence[tuple[str, np.ndarray]],
    *,
    x: str,
    y: str = "share",
    mark: tuple[float, str] | None = None,
    bins: int = 60,
) -> Markup:
    """Distributions over one another, each scaled to its own total.

    Args:
        edges: float [n + 1].
        sides: name and counts [n] of each.
        x: title of the axis.
        y: title of the axis.
        mark: a value to mark with a line, and what it says.
        bins: at most so many bars.
    """
    filled = np.flatnonzero(np.sum([counts for _, counts in sides], axis=0))
    if not len(filled):
        return Markup("")
    step = max(1, math.ceil((filled[-1] - filled[0] + 1) / bins))
    starts = np.arange(filled[0], filled[-1] + 1, step)
    # The last bin of reduceat runs to the end, where nothing is.
    shares = [np.add.reduceat(counts, starts) / max(1, counts.sum()) for _, counts in sides]
    ends = np.append(starts[1:], min(starts[-1] + step, len(edges) - 1))
    x_axis = _Axis(float(edges[starts[0]]), float(edges[ends[-1]]), _LEFT, _WIDTH - _RIGHT)
    bottom = _HEIGHT - _BOTTOM
    y_axis = _Axis(0, float(max(values.max() for values in shares)) * 1.06, bottom, _TOP)
    parts = [_frame(x_axis, y_axis, x, y, y_format=lambda value: f"{100 * value:g} %")]
    for number, values in enumerate(shares):
        for start, end, value in zip(starts, ends, values, strict=True):
            left, right, top = x_axis(float(edges[start])), x_axis(float(edges[end])), y_axis(float(value))
            if value > 0:
                width = max(0.5, right - left - 0.6)
                parts.append(_tag("rect", class_=f"bar s{number}", x=left, y=top, width=width, height=bottom - top))
    if mark is not None and x_axis.low <= mark[0] <= x_axis.high:
        at = x_axis(mark[0])
        anchor, shift = ("end", -6) if at > _WIDTH * 0.6 else ("start", 6)
        parts.append(_tag("line", class_="mark", x1=at, x2=at, y1=_TOP, y2=bottom))
        parts.append(_tag("text", mark[1], class_="mark-text", x=at + shift, y=_TOP + 12, text_anchor=anchor))
    return _svg(parts, f"{y} by {x}", [name for name, _ in sides])


def reliability(curves: Sequence[tuple[str, Mapping[str, Sequence[float]]]], *, x: str, y: str) -> Markup:
    """Probabilities that were said beside what was true, with the line where both agree, and how often each was said.

    Args:
        curves: name, and `ml.statistics.reliability.Judged.curve`, of each model; bars and intervals are the first's.
        x: title of the axis.
        y: title of the axis.
    """
    x_axis, y_axis = _Axis(0, 1, _LEFT, _WIDTH - _RIGHT), _Axis(0, 1, _HEIGHT - _BOTTOM, _TOP)
    parts = [_frame(x_axis, y_axis, x, y, y_format=lambda value: f"{100 * value:g} %")]
    first = curves[0][1]
    for said, low, high, count in zip(*(first[key] for key in ("said", "low", "high", "count")), strict=True):
        top = y_axis(0.3 * count / max(first["count"]))  # so that the highest bar leaves the curve in sight
        title = _tag("title", f"said {count:g} times")
        parts.append(
            _tag("rect", title, class_="count", x=x_axis(said) - 9, y=top, width=18, height=y_axis(0) - top)
            + _tag("line", class_="whisker s0", x1=x_axis(said), x2=x_axis(said), y1=y_axis(low), y2=y_axis(high))
        )
    parts.append(_tag("line", class_="mark", x1=x_axis(0), x2=x_axis(1), y1=y_axis(0), y2=y_axis(1)))
    for number, (name, curve) in enumerate(curves):
        points = list(zip(curve["said"], curve["right"], curve["count"], strict=True))
        path = " ".join(f"{x_axis(said):.1f},{y_axis(right):.1f}" for said, right, _ in points)
        parts.append(_tag("polyline", class_=f"curve s{number % 6}", points=path))
        for said, right, count in points:
            title = _tag("title", f"{name}: said {said:.2f}, right {right:.2f} of {count:g}")
            parts.append(_tag("circle", title, class_=f"dot s{number % 6}", cx=x_axis(said), cy=y_axis(right), r=3.2))
    return _svg(parts, f"{y} against {x}", [name for name, _ in curves])


def scatter(points: np.ndarray, groups: np.ndarray, names: Sequence[str]) -> Markup:
    """A map: every point in its group's colour, every group's name at its middle.

    Args:
        points: float [n, 2].
        groups: int [n], positions in `names`.
        names: of the groups.
    """
    if not len(points):
        return Markup("")
    width, height = 900, 560
    low, high = points.min(0), points.max(0)
    at = (points - low) / np.maximum(high - low, 1e-9) * [width - 120, height - 40] + [60, 20]
    parts = []
    for (x, y), group in zip(at, groups, strict=True):
        colour = f"hsl({round(137.508 * group % 360)} 62% 52%)"  # golden angle: neighbours in number differ in colour
        parts.append(_tag("circle", _tag("title", names[group]), class_="point", cx=x, cy=y, r=4, fill=colour))
    if len(names) <= 60:
        for group in np.unique(groups):
            x, y = np.median(at[groups == group], axis=0)
            parts.append(_tag("text", _short(names[group]), class_="place", x=x, y=y))
    label = "Map of the embeddings"
    return _tag("svg", *parts, class_="map", viewBox=f"0 0 {width} {height}", role="img", aria_label=label)


class _Axis:
    """Values to positions in the image."""

    def __init__(self, low: float, high: float, start: float, end: float, *, is_log: bool = False) -> None:
        self.is_log = is_log and low > 0
        self.low, self.high = low, high if high > low else low + 1
        self.start, self.end = start, end

    def __call__(self, value: float) -> float:
        if self.is_log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """Round values within the axis."""
        step = 10 ** math.floor(math.log10((self.high - self.low) / count))
        step *= next((factor for factor in (1, 2, 5, 10) if (self.high - self.low) / (step * factor) <= count), 10)
        first = math.ceil(self.low / step - 1e-9)
        return [round(number * step, 10) for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def _frame(
    x_axis: _Axis,
    y_axis: _Axis,
    x: str,
    y: str,
    *,
    x_ticks: Sequence[float] | None = None,
    y_format: Callable[[float], str] = lambda value: f"{value:g}",
) -> Markup:
    """Axes, grid, ticks and titles."""
    left, right, bottom = _LEFT, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = []
    for value in y_axis.ticks():
        at = y_axis(value)
        parts.append(_tag("line", class_="grid", x1=left, x2=right, y1=at, y2=at))
        parts.append(_tag("text", y_format(value), class_="tick", x=left - 7, y=at + 4, text_anchor="end"))
    for value in x_ticks or x_axis.ticks():
        parts.append(_tag("text", f"{value:g}", class_="tick", x=x_axis(value), y=bottom + 16, text_anchor="middle"))
    parts.append(_tag("line", class_="axis", x1=left, x2=right, y1=bottom, y2=bottom))
    middle = (left + right) / 2
    parts.append(_tag("text", x, class_="axis-title", x=middle, y=_HEIGHT - 6, text_anchor="middle"))
    turned = f"translate(13 {(bottom + _TOP) / 2:.0f}) rotate(-90)"
    parts.append(_tag("text", y, class_="axis-title", transform=turned, text_anchor="middle"))
    return Markup("").join(parts)


def _svg(parts: Sequence[Markup], label: str, legend: Sequence[str]) -> Markup:
    chart = _tag("svg", *parts, class_="chart", viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", aria_label=label)
    if len(legend) < 2:
        return chart
    keys = [
        _tag("span", _tag("i", "", class_=f"key s{number % 6}"), Markup("{}").format(name))
        for number, name in enumerate(legend)
    ]
    return chart + _tag("p", *keys, class_="legend")


def _tag(name: str, *inside: Markup | str, **attributes: str | float) -> Markup:
    """An element. Text and values are escaped; `class_` and `text_anchor` are class and text-anchor."""
    written = Markup("").join(
        Markup(' {}="{}"').format(
            key.rstrip("_").replace("_", "-"),
            value if isinstance(value, str) else f"{float(value):.1f}".removesuffix(".0"),
        )
        for key, value in attributes.items()
    )
    return Markup("<{}{}>{}</{}>").format(name, written, Markup("").join(inside), name)


def _rounded(low: float, high: float) -> tuple[float, float]:
    """A range that begins and ends at round values around these."""
    if high <= low:
        return low - 0.5, high + 0.5
    step = 10 ** math.floor(math.log10(high - low))
    return math.floor(low / step * 2) * step / 2, math.ceil(high / step * 2) * step / 2


def _short(name: str) -> str:
    return name if len(name) <= 22 else f"{name[:21]}…"
