"""Which settings a sweep tries: each once, and none that is known."""

import pytest
from ray.tune.search import Searcher

from ml.sweeps.record import Record
from ml.sweeps.search_space import Choice, Range
from ml.sweeps.searcher import SweepSearcher

SPACE = {"lr": Choice((1e-4, 1e-3)), "dim": Choice((64, 128, 256))}


@pytest.fixture
def record(tmp_path):
    return Record.new(tmp_path / "sweep", {"space": {}})


def _questions(record, space=SPACE, search="grid", **options):
    defaults = {"count": 4, "seeds": [0], "data": "photos", "fingerprint": "f"}
    return SweepSearcher(space, search, record=record, **(defaults | options))


def _finish(record, settings, value, *, seed=0, state="done"):
    trial = record.begin(settings, seed, "photos", "f")
    trial.state, trial.map_at_r = state, value


def _all(searcher):
    found = []
    while (run := searcher.suggest(str(len(found)))) != Searcher.FINISHED:
        found.append(run)
    return found


def test_a_grid_asks_every_combination_with_every_seed(record):
    runs = _all(_questions(record, seeds=[0, 1]))
    assert len(runs) == 12
    assert len({(run["settings"]["lr"], run["settings"]["dim"], run["seed"]) for run in runs}) == 12


def test_random_settings_differ_and_are_no_more_than_there_are(record):
    runs = _all(_questions(record, search="random", count=50))
    assert len(runs) == 6


@pytest.mark.parametrize("search", ["grid", "random"])
@pytest.mark.parametrize("state", ["done", "pruned"])
def test_finished_trials_are_not_asked_again(record, search, state):
    _finish(record, {"lr": 1e-4, "dim": 64}, 0.5, state=state)
    runs = _all(_questions(record, search=search, count=6))
    assert len(runs) == 5
    assert {"lr": 1e-4, "dim": 64} not in [run["settings"] for run in runs]


def test_failed_and_interrupted_trials_are_asked_again(record):
    _finish(record, {"lr": 1e-4, "dim": 64}, None, state="failed")
    _finish(record, {"lr": 1e-4, "dim": 128}, None, state="running")
    assert len(_all(_questions(record))) == 6


def test_optuna_closes_in_on_what_is_good(record):
    space = {"lr": Range(1e-6, 1.0, is_log=True)}
    searcher = _questions(record, space, "optuna", count=40)
    asked = []
    while (run := searcher.suggest(str(len(asked)))) != Searcher.FINISHED:
        lr = run["settings"]["lr"]
        _finish(record, run["settings"], 1 - abs(lr - 1e-3) ** 0.2)
        searcher.on_trial_complete(str(len(asked)))
        asked.append(lr)
    assert len(asked) == 40
    assert sum(1e-4 < lr < 1e-2 for lr in asked[20:]) > sum(1e-4 < lr < 1e-2 for lr in asked[:20])


def test_optuna_goes_on_from_what_is_known(record):
    space = {"lr": Range(1e-6, 1.0, is_log=True)}
    for exponent in range(-6, 0):
        _finish(record, {"lr": 10.0**exponent}, 1 - abs(exponent + 3) / 10)
    assert _questions(record, space, "optuna", count=8).runs == 2


def test_optuna_ends_when_a_small_space_is_used_up(record):
    searcher = _questions(record, search="optuna", count=30)
    asked = 0
    while (run := searcher.suggest(str(asked))) != Searcher.FINISHED:
        _finish(record, run["settings"], 0.5)
        searcher.on_trial_complete(str(asked))
        asked += 1
    assert asked <= 6


def test_optuna_hears_of_a_setting_once_all_of_its_seeds_have_ended(record):
    searcher = _questions(record, search="optuna", count=1, seeds=[0, 1])
    runs = _all(searcher)
    assert [run["seed"] for run in runs] == [0, 1]
    assert runs[0]["settings"] == runs[1]["settings"]
