"""The page and its plots, of the kept results alone: the same results make the same page."""

import math
import statistics
from collections.abc import Iterator

from benchmarks.suite import plots
from benchmarks.suite.__main__ import PARTS
from benchmarks.suite.goals import GOALS, Goal
from benchmarks.suite.record import PACKAGES, ROOT, Curve, Race, Result, read

PAGE = ROOT / "docs" / "measured.md"
IMAGES = ROOT / "docs" / "images"
_BUSY = 4.0  # a part's own work on two cores is below it
_HEAD = """# Measured by make bench

<!-- Made by `make bench`: change benchmarks/suite instead. -->

What is compared with peers and with what the machine allows, in one run: `make bench`, or `make bench ONLY=store` for a
part. Contestants take turns in every round; a figure is the median over the rounds, a ratio the median of each round's
ratio. What was measured with other commands stands on [Benchmarks](benchmarks.md). `load` says what else the machine
did: with more than 2 on two cores compare ratios, not rates. The goals of 32 users in rates and milliseconds were set
on a machine whose limit was 298 searches per s at 6.7 ms of processor time; the share and the ratio are the same goals
in proportion to what the machine at hand allows.
"""


def write() -> str:
    """Makes page and plots; returns the page's name."""
    results = {part: result for part in PARTS if (result := read(part)) is not None}
    for result in results.values():
        for name, curve in result.found.curves.items():
            plots.draw(curve, IMAGES / f"bench-{name}.svg")
    PAGE.write_text(text(results))
    return str(PAGE.relative_to(ROOT))


def text(results: dict[str, Result]) -> str:
    """The page."""
    parts = [line for part, result in results.items() for line in _part(part, result)]
    return "\n".join([_HEAD, *_goals(results), *parts, *_machine(results)]) + "\n"


def _goals(results: dict[str, Result]) -> Iterator[str]:
    known = {part: result.found.figures for part, result in results.items()}
    yield "## Goals\n"
    yield "| what | measured | goal | reached |"
    yield "|---|---|---|---|"
    for goal in GOALS:
        busy = results[goal.part].load[0] if goal.part in results else 0.0
        yield _goal(goal, known.get(goal.part, {}).get(goal.figure), busy)
    yield ""


def _goal(goal: Goal, value: float | None, load: float) -> str:
    if value is None:
        return f"| {goal.what} | not measured | {goal.wanted} | |"
    reached = "yes" if goal.is_reached(value) else "**no**"
    if load > _BUSY:
        reached += f", at load {load:.0f}"
    return f"| {goal.what} | {_number(value)} {goal.unit} | {goal.wanted} | {reached} |"


def _part(part: str, result: Result) -> Iterator[str]:
    quick = ", **tiny amounts: no figures to quote**" if result.is_quick else ""
    title = PARTS[part].partition(" (")[0]
    yield f"## {title[0].upper()}{title[1:]}\n"
    load = f"load {result.load[0]} to {result.load[1]}"
    yield f"{result.at}, commit {result.commit}, {result.seconds:.0f} s, {load}{quick}.\n"
    for race in result.found.races.values():
        yield from _race(race)
    for name, curve in result.found.curves.items():
        yield from _curve(name, curve)
    if result.found.figures:
        yield "| figure | |"
        yield "|---|---|"
        yield from (f"| {name} | {_number(value)} |" for name, value in result.found.figures.items())
        yield ""
    if result.found.missing:
        yield "Left out: " + "; ".join(f"{name} ({why})" for name, why in result.found.missing.items()) + ".\n"


def _race(race: Race) -> Iterator[str]:
    columns = list(dict.fromkeys(column for each in race.extra.values() for column in each))
    rounds = len(next(iter(race.rounds.values())))
    heads = [f"{race.what}, {rounds} rounds", race.unit, "lowest to highest", "ours is", *columns]
    yield f"| {' | '.join(heads)} |"
    yield "|---" * (4 + len(columns)) + "|"
    ours = next(iter(race.rounds))
    for name, figures in race.rounds.items():
        said = "" if name == ours else f"{_number(race.ratio(name))} x as good"
        more = "".join(f" {_number(race.extra.get(name, {}).get(column))} |" for column in columns)
        shown = f"**{name}**" if name == ours else name
        span = f"{_number(min(figures))} to {_number(max(figures))}"
        yield f"| {shown} | {_number(statistics.median(figures))} | {span} | {said} |{more}"
    yield ""


def _curve(name: str, curve: Curve) -> Iterator[str]:
    yield f"![{curve.what}: {curve.y} against {curve.x}](images/bench-{name}.svg)\n"
    yield f"| {curve.what}: {curve.y} at … {curve.x} | {' | '.join(_number(x) for x in _sizes(curve))} | exponent |"
    yield "|---" * (2 + len(_sizes(curve))) + "|"
    for series, points in curve.series.items():
        known = dict(points)
        cells = " | ".join(_number(known.get(x)) for x in _sizes(curve))
        yield f"| {series} | {cells} | {_number(exponent(points))} |"
    yield ""


def _sizes(curve: Curve) -> list[float]:
    return sorted({x for points in curve.series.values() for x, _ in points})


def exponent(points: list[tuple[float, float]]) -> float | None:
    """b of cost = a · size^b, by least squares of the logarithms; None for a single size."""
    if len(points) < 2:
        return None
    logs = [(math.log(x), math.log(y)) for x, y in points]
    return statistics.linear_regression(*zip(*logs, strict=True)).slope


def _machine(results: dict[str, Result]) -> Iterator[str]:
    yield "## Machine and versions\n"
    for machine in sorted({result.machine for result in results.values()}):
        yield f"{machine}.\n"
    newest = max(results.values(), key=lambda result: result.at, default=None)
    if newest:
        yield ", ".join(f"{name} {newest.packages.get(name, 'not installed')}" for name in PACKAGES) + "."


def _number(value: float | None) -> str:
    """Three significant digits, no exponent."""
    if value is None:
        return ""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{min(digits, 4)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
