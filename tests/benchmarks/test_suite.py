"""`make bench`: its page is what its results say, and says whether goals are reached."""

import dataclasses
import math
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.suite import __main__ as suite
from benchmarks.suite import page, plots, record
from benchmarks.suite.goals import GOALS, Goal
from benchmarks.suite.record import Curve, Effort, Found, Race

ROUNDS = {"ours": [10.0, 12.0, 11.0], "a peer": [5.0, 4.0, 5.5]}


def found() -> Found:
    race = Race("photos to vectors", "images/s", ROUNDS, is_rate=True, extra={"ours": {"disk, MB": 3.0}})
    curve = Curve("a search", "vectors", "ms", {"ours": [(1000, 1.0), (10_000, 10.0), (100_000, 100.0)]})
    return Found({"race": race}, {"sizes": curve}, {GOALS[0].figure: 1.5}, {"another peer": "does not install"})


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    assert Race("", "images/s", ROUNDS, is_rate=True).ratio("a peer") == 2
    assert Race("", "ms", ROUNDS).ratio("a peer") == 0.5


def test_contestants_take_turns_after_one_go_for_nothing() -> None:
    order: list[str] = []
    steps = {name: lambda name=name: order.append(name) or float(len(order)) for name in ("ours", "a peer")}
    race = record.race(steps, Effort(rounds=2), what="", unit="s")
    assert order == ["ours", "a peer"] * 3
    assert race.rounds == {"ours": [3, 5], "a peer": [4, 6]}


def test_exponents_are_fitted() -> None:
    points = [(size, 3 * size**0.5) for size in (10.0, 100.0, 1000.0)]
    assert math.isclose(page.exponent(points) or 0, 0.5)
    assert page.exponent(points[:1]) is None


def test_the_page_shows_what_was_kept(tmp_path: Path) -> None:
    part = GOALS[0].part
    record.keep(part, found(), Effort(3), load=1.0, seconds=12, folder=tmp_path)
    kept = record.read(part, tmp_path)
    assert kept is not None and kept.found == found()
    text = page.text({part: kept})
    assert "| **ours** | 11 | 10 to 12 |  | 3 |" in text
    assert "| a peer | 5 | 4 to 5.5 | 2 x as good |  |" in text
    assert "| ours | 1 | 10 | 100 | 1 |" in text
    assert "another peer (does not install)" in text
    assert f"| {GOALS[0].what} | 1.5 times | at most 1.6 times | yes" in text
    assert "not measured" in text  # what other parts would tell


@pytest.mark.parametrize("value, is_floor, is_reached", [(9, False, True), (11, False, False), (9, True, False)])
def test_a_goal_is_a_ceiling_or_a_floor(value: float, is_floor: bool, is_reached: bool) -> None:
    assert Goal("", "", "", 10, is_floor=is_floor).is_reached(value) == is_reached


def test_goals_are_told_by_parts() -> None:
    assert {goal.part for goal in GOALS} <= set(suite.PARTS)
    for goal in GOALS:
        kept = record.read(goal.part)
        assert kept is None or kept.is_quick or goal.figure in kept.found.figures, goal


def test_the_page_in_the_documents_is_that_of_the_results() -> None:
    results = {part: result for part in suite.PARTS if (result := record.read(part)) is not None}
    assert page.PAGE.read_text() == page.text(results), "run: python -m benchmarks.suite --only none"


def test_plots_are_the_same_for_the_same_curve(tmp_path: Path) -> None:
    curve = found().curves["sizes"]
    plots.draw(curve, tmp_path / "a.svg")
    plots.draw(dataclasses.replace(curve), tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert "ours: size^1.00" in (tmp_path / "a.svg").read_text()


def test_a_part_runs_at_tiny_amounts(tmp_path: Path) -> None:
    # In a process of its own, as always: other tests import what replaces FAISS's methods.
    command = [sys.executable, "-m", "benchmarks.suite", "--only", "store", "--quick", "--folder", str(tmp_path)]
    subprocess.run(command, cwd=record.ROOT, check=True)
    kept = record.read("store", tmp_path)
    assert kept is not None and kept.is_quick
    engines = kept.found.races["engines"]
    assert {"FAISS flat: exact", "FAISS HNSW"} <= set(engines.rounds)
    assert all(each["recall@10"] >= 0.95 for each in engines.extra.values())
