"""The searcher that Ray Tune asks for runs: a grid, random settings, or Optuna's tree-structured Parzen estimator.

One face for all of them towards Ray Tune. What an earlier sweep of the same name finished is not asked again, and
Optuna learns from it.
"""

import math
import statistics
from collections.abc import Iterator
from typing import Any

from ray.tune.search import Searcher

from ml.sweeps import search_space
from ml.sweeps.asha import Rungs
from ml.sweeps.record import FINISHED, Configuration, Record, Trial, settings_key, trial_id
from ml.sweeps.search_space import Choice, Dimension, Range, Space

METRIC = "map_at_r"
_TRIES = 50  # of a search that proposes what is known already


class SweepSearcher(Searcher):
    """Suggests runs to Ray Tune and takes their results.

    Args:
        space: what may be tried.
        search: grid, random or optuna.
        count: settings to try; a grid tries all.
        seeds: every setting is tried with each of these.
        record: what is known already.
        data: name of the data set.
        fingerprint: of the data set.
        seed: of the choice of settings.
        rungs: who goes on at which epoch; None when every trial runs to its end.
    """

    def __init__(
        self,
        space: Space,
        search: str,
        *,
        count: int,
        seeds: list[int],
        record: Record,
        data: str,
        fingerprint: str,
        seed: int = 0,
        rungs: Rungs | None = None,
    ) -> None:
        super().__init__(metric=METRIC, mode="max")
        self._seeds, self._record, self._fingerprint, self._data = seeds, record, fingerprint, data
        self._study = _Study(space, seed) if search == "optuna" else None
        self._count = count
        self._proposed: dict[str, dict[str, Any]] = {}  # settings that were proposed
        self._waiting: list[dict[str, Any]] = []
        self._under_way: dict[str, dict[str, Any]] = {}
        self._rungs = rungs
        self._resumed: set[str] = set()
        # By setting, not by run: repeats stand at a mark until all of them are there, and go on together.
        self._standing: dict[str, list[dict[str, Any]]] = {}
        self._figures: dict[tuple[str, int], dict[int, float]] = {}  # (setting, mark) -> seed -> mAP@R
        if rungs:
            self._resume_trials(rungs)
        if self._study is None:
            chosen = search_space.grid(space) if search == "grid" else _different(space, count, seed)
            for settings in chosen:
                self._propose(settings)
        else:
            for configuration in record.configurations(data):
                if any(trial.state in FINISHED for trial in configuration.trials):
                    self._propose(configuration.settings)
                    if not self._is_open(configuration.settings):
                        self._study.add_finished(configuration.settings, self._outcome(configuration.settings))

    @property
    def runs(self) -> int:
        """At most so many runs are still to be made, counting one again each time that it goes on; 0: nothing is."""
        new = len(self._waiting) + (max(0, self._count - len(self._proposed)) * len(self._seeds) if self._study else 0)
        if self._rungs is None:
            return new
        standing = sum(map(len, self._standing.values())) if new or self._rungs.next([]) else 0
        return (new + standing) * (len(self._rungs.marks) + 1)

    def suggest(self, trial_id: str) -> Any:
        """The next run, as Ray Tune asks for it."""
        if not self._waiting and self._study is not None:
            self._ask()
        if not self._waiting and self._rungs is not None:
            following = self._rungs.next([run["start"] for run in self._under_way.values()])
            if following is not None:
                self._rungs.promote(*following)
                self._waiting += [run | {"start": following[1]} for run in self._standing.pop(following[0])]
            elif self._under_way:
                return None  # who goes on is not known yet
        if not self._waiting:
            return Searcher.FINISHED
        run = self._waiting.pop(0)
        self._under_way[trial_id] = run
        return run

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Notes what a run reached, and tells Optuna of a setting when the last of its runs has ended or stands."""
        run = self._under_way.pop(trial_id, None)
        if run is None:
            return
        settings, figures = run["settings"], result or {}
        if (
            self._rungs is not None
            and not error
            and figures.get("epoch") in self._rungs.marks
            and "final" not in figures
        ):
            self._stop(run, figures["epoch"], figures[METRIC], self._rungs)
        others = [*self._under_way.values(), *self._waiting]
        if self._study is not None and all(other["settings"] != settings for other in others):
            self._study.tell(settings, self._outcome(settings))

    def _stop(self, run: dict[str, Any], mark: int, map_at_r: float, rungs: Rungs) -> None:
        """A run stands at a mark, which its setting has reached once all of its repeats stand there."""
        key = settings_key(run["settings"])
        self._note(key, mark, run["seed"], map_at_r, rungs)
        if rungs.is_promoted(key, mark):  # the others went on, before an interruption
            self._waiting.append(run | {"start": mark})
        else:
            self._standing.setdefault(key, []).append(run)

    def _note(self, key: str, mark: int, seed: int, map_at_r: float | None, rungs: Rungs) -> None:
        figures = self._figures.setdefault((key, mark), {})
        figures[seed] = math.nan if map_at_r is None else map_at_r
        if len(figures) == len(self._seeds):
            rungs.reach(key, mark, statistics.fmean(figures.values()))

    def _resume_trials(self, rungs: Rungs) -> None:
        """Puts what an interrupted sweep left where it was: at a mark, or on the way from one."""
        ours = [
            trial
            for id, trial in self._record.trials.items()
            if id == self._id(trial.settings, trial.seed)  # of this very data
            and trial.seed in self._seeds
            and trial.state != "failed"
            and trial.history
        ]
        for trial in ours:
            for mark in rungs.marks:
                if trial.state == "done" or trial.history[-1]["epoch"] > mark:
                    rungs.promote(settings_key(trial.settings), mark)
        for trial in ours:
            self._resume_trial(trial, rungs)
            self._resumed.add(trial.id)
            self._proposed[settings_key(trial.settings)] = trial.settings

    def _resume_trial(self, trial: Trial, rungs: Rungs) -> None:
        figures = {int(item["epoch"]): item["map_at_r"] for item in trial.history}
        passed = [mark for mark in rungs.marks if mark in figures]
        for mark in passed:
            self._note(settings_key(trial.settings), mark, trial.seed, figures[mark], rungs)
        if trial.state == "done":
            return
        last = max(figures)
        run = {"settings": trial.settings, "seed": trial.seed, "start": passed[-1] if passed else 0}
        if last in passed:
            self._stop(run, last, math.nan if figures[last] is None else figures[last], rungs)
        else:
            self._waiting.append(run)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the sweep's own record is what a resumed sweep reads."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, as nothing is saved."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing, as above."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray Tune pickles what it is given, for a restoration that we do without

    def _ask(self) -> None:
        for _ in range(_TRIES):
            if self._study is None or len(self._proposed) >= self._count:
                return
            settings = self._study.ask()
            key = settings_key(settings)
            if key not in self._proposed:
                self._propose(settings)
                if self._waiting:
                    return
            self._study.tell(settings, self._outcome(settings))

    def _propose(self, settings: dict[str, Any]) -> None:
        self._proposed[settings_key(settings)] = settings
        self._waiting += [
            {"settings": settings, "seed": seed, "start": 0}
            for seed in self._seeds
            if not self._is_finished(settings, seed)
        ]

    def _is_finished(self, settings: dict[str, Any], seed: int) -> bool:
        id = self._id(settings, seed)
        trial = self._record.trials.get(id)
        return id in self._resumed or (trial is not None and trial.state in FINISHED)

    def _id(self, settings: dict[str, Any], seed: int) -> str:
        return trial_id(settings, seed, self._fingerprint)

    def _is_open(self, settings: dict[str, Any]) -> bool:
        return any(not self._is_finished(settings, seed) for seed in self._seeds)

    def _outcome(self, settings: dict[str, Any]) -> tuple[str, float]:
        """How a setting ended: done with the mean of all its repeats, pruned at their last mean, or failed."""
        ids = [self._id(settings, seed) for seed in self._seeds]
        trials = tuple(self._record.trials[id] for id in ids if id in self._record.trials)
        reached = Configuration(settings, trials, len(self._seeds))
        if reached.is_complete:
            return "done", reached.map_at_r
        value = reached.known_map_at_r
        return ("failed", 0.0) if math.isnan(value) else ("pruned", value)


class _Study:
    """Optuna, by settings instead of trial numbers."""

    def __init__(self, space: Space, seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna = optuna
        sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True, n_startup_trials=5)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._distributions = {name: _distribution(dimension) for name, dimension in space.items()}
        self._open: dict[str, Any] = {}

    def ask(self) -> dict[str, Any]:
        trial = self._study.ask(self._distributions)
        self._open[settings_key(trial.params)] = trial
        return dict(trial.params)

    def tell(self, settings: dict[str, Any], outcome: tuple[str, float]) -> None:
        trial = self._open.pop(settings_key(settings), None)
        if trial is None:
            return
        state, value = outcome
        states = self._optuna.trial.TrialState
        if state == "done":
            self._study.tell(trial, value)
        elif state == "pruned":
            trial.report(value, step=1)
            self._study.tell(trial, state=states.PRUNED)
        else:
            self._study.tell(trial, state=states.FAIL)

    def add_finished(self, settings: dict[str, Any], outcome: tuple[str, float]) -> None:
        state, value = outcome
        states = self._optuna.trial.TrialState
        if state == "failed" or set(settings) != set(self._distributions):
            return
        is_done = state == "done"
        self._study.add_trial(
            self._optuna.trial.create_trial(
                state=states.COMPLETE if is_done else states.PRUNED,
                params=settings,
                distributions=self._distributions,
                value=value if is_done else None,
                intermediate_values={} if is_done else {1: value},
            )
        )


def _distribution(dimension: Dimension) -> Any:
    from optuna import distributions

    if isinstance(dimension, Choice):
        return distributions.CategoricalDistribution(dimension.values)
    assert isinstance(dimension, Range)
    if dimension.is_int:
        return distributions.IntDistribution(round(dimension.low), round(dimension.high), log=dimension.is_log)
    return distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.is_log)


def _different(space: Space, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """So many random settings, none twice; fewer where there are no more."""
    seen: set[str] = set()
    for settings in search_space.samples(space, count * _TRIES, seed=seed):
        key = settings_key(settings)
        if key not in seen:
            seen.add(key)
            yield settings
        if len(seen) == count:
            return
