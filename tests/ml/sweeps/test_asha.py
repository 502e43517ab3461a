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


# mAP@R by setting and seed, per epoch: "lucky" has the best single trial and the worst mean.
FIGURES = {"lucky": (0.9, 0.1, 0.1), "steady": (0.6, 0.5, 0.6), "middling": (0.5, 0.4, 0.5)}


def _play_repeats(record, *, side_by_side, epochs=4, limit=1000):
    """Three settings with three seeds each, in the worst order: the lucky seed ends first."""
    rungs = Rungs(epochs)
    searcher = SweepSearcher(
        {"loss": Choice(tuple(FIGURES))},
        "grid",
        count=3,
        seeds=[0, 1, 2],
        record=record,
        data="photos",
        fingerprint="f",
        rungs=rungs,
    )
    under_way, number = {}, 0
    while limit:
        while len(under_way) < side_by_side:
            run = searcher.suggest(f"t{number}")
            if run is None or run == Searcher.FINISHED:
                break
            under_way[f"t{number}"], number = run, number + 1
        if not under_way:
            break
        name, run = next(iter(under_way.items()))
        trial = record.begin(run["settings"], run["seed"], "photos", "f")
        trial.state = "running"
        figure = FIGURES[run["settings"]["loss"]][run["seed"]] * (len(trial.history) + 1)
        trial.history = [*trial.history, {"epoch": len(trial.history) + 1, "map_at_r": figure}]
        epoch, limit = len(trial.history), limit - 1
        if epoch == epochs:
            trial.state, trial.map_at_r = "done", figure
        elif epoch in rungs.marks:
            trial.state = "pruned"
        else:
            continue
        del under_way[name]
        searcher.on_trial_complete(name, {METRIC: figure, "epoch": epoch} | ({"final": 1} if epoch == epochs else {}))


@pytest.mark.parametrize("side_by_side", [1, 2, 9])
def test_settings_are_ranked_by_the_mean_of_their_repeats(record, side_by_side):
    record.plan["repeats"] = 3
    _play_repeats(record, side_by_side=side_by_side)
    best, *others = record.configurations()
    assert best.settings == {"loss": "steady"} and best.is_complete and len(best.done) == 3
    assert not any(one.done for one in others), "a single lucky trial went on without its repeats"


@pytest.mark.parametrize("stopped_after", range(1, 18))
def test_repeats_go_on_together_wherever_a_sweep_was_interrupted(record, stopped_after):
    record.plan["repeats"] = 3
    _play_repeats(record, side_by_side=2, limit=stopped_after)
    _play_repeats(record, side_by_side=2)
    best = record.configurations()[0]
    assert best.settings == {"loss": "steady"} and best.is_complete
    assert sum(len(trial.history) for trial in record.trials.values()) == 9 + 3 * 3


def test_only_a_complete_setting_can_win(record):
    record.plan["repeats"] = 2
    for seed, (lucky, steady) in enumerate([(0.9, 0.5), (None, 0.6)]):
        for name, figure in (("lucky", lucky), ("steady", steady)):
            trial = record.begin({"loss": name}, seed, "photos", "f")
            trial.state, trial.map_at_r = ("failed", None) if figure is None else ("done", figure)
    best, other = record.configurations()
    assert best.settings == {"loss": "steady"} and best.map_at_r == 0.55
    assert not other.is_complete


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
