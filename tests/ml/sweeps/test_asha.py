"""ASHA in its promoting form: the best third goes on, wherever an interruption left it."""

import math

import pytest
from ray.tune.search import Searcher

from ml.sweeps.asha import Rungs
from ml.sweeps.record import Record
from ml.sweeps.search_space import Choice
from ml.sweeps.searcher import METRIC, SweepSearcher

SPACE = {"lr": Choice(tuple(n / 1000 for n in range(1, 13)))}  # 12 settings; the better the larger


@pytest.fixture
def record(tmp_path):
    return Record.new(tmp_path / "sweep", {"space": {}})


def ask(record, epochs=8):
    rungs = Rungs(epochs)
    return SweepSearcher(
        SPACE, "grid", count=12, seeds=[0], record=record, data="photos", fingerprint="f", rungs=rungs
    ), rungs


def play(record, searcher, rungs, side_by_side=2, epochs=8, limit=1000):
    """Runs everything that is asked for, as Ray Tune would; returns the number of epochs, and what ran to its end."""
    under_way, spent, done, number = {}, 0, [], 0
    while spent < limit:
        while len(under_way) < side_by_side:
            name = f"t{number}"
            run = searcher.suggest(name)
            if run is None or run == Searcher.FINISHED:
                assert under_way or run == Searcher.FINISHED, "it waits for nobody"
                break
            number += 1
            trained = len(record.begin(run["settings"], 0, "photos", "f").history)  # its checkpoints are there
            assert trained >= run["start"]
            under_way[name] = (run, trained)
        if not under_way:
            return spent, done
        for name, (run, epoch) in list(under_way.items()):
            epoch, spent = epoch + 1, spent + 1
            trial = record.begin(run["settings"], 0, "photos", "f")
            figure = run["settings"]["lr"] * epoch
            assert epoch == len(trial.history) + 1, "an epoch is repeated"
            trial.history = [*trial.history, {"epoch": epoch, "map_at_r": figure}]
            under_way[name] = (run, epoch)
            if epoch == epochs:
                trial.state, trial.map_at_r = "done", figure
                done.append(run["settings"]["lr"])
            elif epoch in rungs.marks and epoch > run["start"]:
                trial.state = "pruned"
            else:
                continue
            del under_way[name]
            result = {METRIC: figure, "epoch": epoch} | ({"final": figure} if epoch == epochs else {})
            searcher.on_trial_complete(name, result)
    return spent, done


@pytest.mark.parametrize("side_by_side", [1, 2, 4, 12])
def test_the_best_third_goes_on_and_the_best_of_all_arrives(record, side_by_side):
    spent, done = play(record, *ask(record), side_by_side=side_by_side)
    assert max(done) == 0.012
    assert spent <= 0.4 * 12 * 8


@pytest.mark.parametrize("stopped_after", [1, 5, 12, 13, 17, 20, 25])
def test_an_interrupted_sweep_goes_on_where_it_was(tmp_path, stopped_after):
    whole = Record.new(tmp_path / "whole", {"space": {}})
    expected = play(whole, *ask(whole))
    record = Record.new(tmp_path / "sweep", {"space": {}})
    before, _ = play(record, *ask(record), limit=stopped_after)
    for trial in record.trials.values():  # what was running says so still
        if trial.state == "pruned" and len(trial.history) not in (1, 3):
            trial.state = "running"
    after, done = play(record, *ask(record))
    assert max(done, default=0.012) == 0.012
    assert before + after <= expected[0] + 8
    assert any(trial.state == "done" and trial.settings["lr"] == 0.012 for trial in record.trials.values())


def test_a_finished_sweep_asks_nothing(record):
    play(record, *ask(record))
    searcher, _ = ask(record)
    assert searcher.runs == 0
    assert searcher.suggest("x") == Searcher.FINISHED


def test_trials_on_other_data_are_left_alone(record):
    play(record, *ask(record))
    searcher = SweepSearcher(
        SPACE, "grid", count=12, seeds=[0], record=record, data="photos", fingerprint="changed", rungs=Rungs(8)
    )
    assert [searcher.suggest(str(n))["start"] for n in range(12)] == [0] * 12


def test_one_of_two_goes_on():
    rungs = Rungs(5)
    rungs.reach("a", 1, 0.2)
    assert rungs.next([0]) is None  # the other may be better
    rungs.reach("b", 1, 0.3)
    assert rungs.next([]) == ("b", 1)
    rungs.promote("b", 1)
    assert rungs.next([]) is None


def test_what_has_no_figure_never_goes_on():
    rungs = Rungs(5)
    rungs.reach("a", 1, math.nan)
    assert rungs.next([]) is None


def test_marks_lie_below_the_longest_trial():
    assert [Rungs(epochs).marks for epochs in (1, 2, 3, 4, 9, 10)] == [(), (1,), (1,), (1, 3), (1, 3), (1, 3, 9)]
