"""A sweep on disk: what was planned and how every trial ended, so that a killed sweep repeats no finished one.

trials.json          the plan and one entry per trial; replaced in one step whenever a trial reports
logs/<trial>.log     what a trial logged, and the traceback of one that failed
runs/<run>/          the training runs, with the models of trials that went to the end
lock                 held by the process that sweeps
"""

import contextlib
import hashlib
import json
import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from ml import files, records
from ml.errors import LookalikeError

FINISHED = ("done", "pruned")
_FILE = "trials.json"


@dataclass
class Trial:
    """One run of a sweep.

    Args:
        id: derived from settings, seed and data.
        settings: the hyper-parameters that this trial tries.
        seed: of the run.
        data: name of the data set.
        state: running, done, pruned (by ASHA; it may go on later) or failed.
        map_at_r: of held-out classes through the finished head; None before it is done.
        history: epoch, loss, map_at_r and seconds of each epoch.
        seconds: of the run.
        reason: why it failed.
        model: folder of the model, below the sweep's.
    """

    id: Annotated[str, Meta(pattern="^[0-9a-f]{10}$")]
    settings: dict[str, Any]
    seed: int
    data: str
    state: Literal["running", "done", "pruned", "failed"] = "running"
    map_at_r: float | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    reason: str = ""
    model: str = ""

    @property
    def last_map_at_r(self) -> float:
        """The best figure that is known; NaN before the first."""
        if self.map_at_r is not None:
            return self.map_at_r
        return self.history[-1].get("map_at_r", math.nan) if self.history else math.nan


@dataclass(frozen=True)
class _Content:
    """What trials.json holds."""

    plan: dict[str, Any]
    trials: list[dict[str, Any]]


@dataclass(frozen=True)
class Configuration:
    """All trials of one setting: its repeats (seeds) on each data set. Settings are compared, never single trials:
    the best of many trials is the luckiest one.

    Args:
        settings: the hyper-parameters.
        trials: that were begun.
        planned: trials that make it complete.
    """

    settings: dict[str, Any]
    trials: tuple[Trial, ...]
    planned: int = 1

    @property
    def done(self) -> tuple[Trial, ...]:
        """Trials that went to the end."""
        return tuple(trial for trial in self.trials if trial.state == "done" and trial.map_at_r is not None)

    @property
    def is_complete(self) -> bool:
        """Whether every planned trial went to the end. Only such a setting can win."""
        return len(self.done) >= self.planned

    @property
    def map_at_r(self) -> float:
        """The mean over the trials that went to the end; NaN before the first."""
        return statistics.fmean(t.map_at_r for t in self.done if t.map_at_r is not None) if self.done else math.nan

    @property
    def by_seed(self) -> list[float]:
        """The mean over data sets of each seed, of the trials that went to the end."""
        seeds: dict[int, list[float]] = {}
        for trial in self.done:
            seeds.setdefault(trial.seed, []).append(trial.last_map_at_r)
        return [statistics.fmean(values) for values in seeds.values()]

    @property
    def deviation(self) -> float:
        """The standard deviation over seeds; NaN with fewer than two."""
        return statistics.stdev(self.by_seed) if len(self.by_seed) > 1 else math.nan

    def is_told_apart(self, other: "Configuration") -> bool:
        """Whether the means of two complete settings differ by more than the standard error of that difference.

        With one seed each nothing is known of that error, and only equal ones are not told apart.
        """
        variances = (each.deviation**2 / max(1, len(each.by_seed)) for each in (self, other))
        error = math.sqrt(sum(value for value in variances if not math.isnan(value)))
        return abs(self.map_at_r - other.map_at_r) > error

    @property
    def common_epoch(self) -> int:
        """The last epoch that every planned trial has a figure of; 0 before that."""
        if len(self.trials) < self.planned:
            return 0
        return min(int(trial.history[-1]["epoch"]) if trial.history else 0 for trial in self.trials)

    @property
    def known_map_at_r(self) -> float:
        """The mean over the repeats, where they all were last: at the end, or at the epoch that all of them reached.
        Where some have not begun, the mean of what is known."""
        if self.is_complete:
            return self.map_at_r
        common = self.common_epoch
        at_common = [i["map_at_r"] for t in self.trials for i in t.history if common and i["epoch"] == common]
        values = at_common or [trial.last_map_at_r for trial in self.trials]
        values = [value for value in values if value is not None and not math.isnan(value)]
        return statistics.fmean(values) if values else math.nan

    @property
    def seconds(self) -> float:
        return sum(trial.seconds for trial in self.trials)


class Record:
    """The file `trials.json` and what it holds. One process at a time writes it."""

    def __init__(self, directory: Path, plan: dict[str, Any], trials: dict[str, Trial]) -> None:
        self.directory = directory
        self.plan = plan
        self.trials = trials
        self._is_held = False

    @classmethod
    def new(cls, directory: Path, plan: dict[str, Any]) -> "Record":
        """An empty record. Raises LookalikeError when the folder cannot be written."""
        record = cls(directory, plan | {"created_at": time.time()}, {})
        record.save()
        return record

    @classmethod
    def load(cls, directory: Path) -> "Record":
        """What an earlier sweep left. Raises LookalikeError when there is none."""
        try:
            content = records.loads(files.read_regular(directory / _FILE), nan=lambda _: math.nan)
            kept = records.typed(_Content, content)
            trials = [_trial(entry) for entry in kept.trials]
            return cls(directory, kept.plan, {trial.id: trial for trial in trials})
        except FileNotFoundError:
            names = sorted(path.parent.name for path in directory.parent.glob(f"*/{_FILE}"))
            hint = f"there are: {', '.join(names)}" if names else "no sweep has been started here"
            raise LookalikeError(f"there is no sweep {directory.name!r}", hint=hint) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LookalikeError(f"{directory / _FILE} cannot be read: {error}", hint="start a new sweep") from error

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """The right to work in the folder, to the end of the block; of a record that is held already, to that end.

        Raises:
            LookalikeError: another process has it.
        """
        if self._is_held:
            yield
            return
        refusal = LookalikeError(
            f"sweep {self.directory.name} is under way already",
            hint="wait for it or stop it: lookalike jobs lists what runs",
        )
        with files.held(self.directory / "lock", refusal):
            self._is_held = True
            try:
                yield
            finally:
                self._is_held = False

    def save(self) -> None:
        """Replaces the file in one step. Raises LookalikeError where it cannot, or another process sweeps here."""
        content = {"plan": self.plan, "trials": [asdict(trial) for trial in self.trials.values()]}
        try:
            with self.held():
                files.write(self.directory / _FILE, json.dumps(content, indent=1))
        except OSError as error:
            raise LookalikeError(
                f"{self.directory} cannot be written: {error.strerror}", hint="free some space, then --resume"
            ) from error

    def begin(self, settings: dict[str, Any], seed: int, data: str, fingerprint: str) -> Trial:
        """The trial of these settings, new or as it was left."""
        id = trial_id(settings, seed, fingerprint)
        return self.trials.setdefault(id, Trial(id, dict(settings), seed, data))

    def log_file(self, id: str) -> Path:
        """Where a trial logs."""
        return self.directory / "logs" / f"{id}.log"

    def configurations(self, data: str | None = None) -> list[Configuration]:
        """Trials by setting, the best mean first; complete settings before those that are not. Measurements of the
        winner are no part of them."""
        groups: dict[str, list[Trial]] = {}
        for trial in self._of(data):
            if not self.is_measurement(trial):
                groups.setdefault(settings_key(trial.settings), []).append(trial)
        names = {trial.data for trial in self.trials.values()}
        planned = self.plan.get("repeats", 1) * (1 if data else len(self.plan.get("data") or names))
        configurations = [Configuration(trials[0].settings, tuple(trials), planned) for trials in groups.values()]
        return sorted(configurations, key=_rank)

    def level(self) -> list[Configuration]:
        """Complete settings whose mean is not told apart from the best one's, that one left out."""
        complete = [each for each in self.configurations() if each.is_complete]
        return [each for each in complete[1:] if not complete[0].is_told_apart(each)]

    def is_measurement(self, trial: Trial) -> bool:
        """Whether a trial measures the winner anew, with a seed that no setting was chosen by."""
        if "base" not in self.plan:
            return False
        return bool(trial.seed >= self.plan["base"]["seed"] + self.plan["repeats"])

    def measurements(self, settings: dict[str, Any]) -> Configuration:
        """The measurements of these settings that are done, one for each data set."""
        trials = [t for t in self.trials.values() if self.is_measurement(t) and t.settings == settings]
        return Configuration(settings, tuple(trials), max(1, len(self.plan.get("data") or ())))

    def _of(self, data: str | None) -> Iterator[Trial]:
        return (trial for trial in self.trials.values() if data in (None, trial.data))


def settings_key(settings: dict[str, Any]) -> str:
    """What stands for these settings in a dict."""
    return json.dumps(settings, sort_keys=True)


def _trial(entry: dict[str, Any]) -> Trial:
    """A trial of the file. What no figure is known of is null in an epoch's report, and NaN here."""
    reports = records.typed(list[dict[str, float | None]], entry.get("history", []))
    history = [{name: math.nan if value is None else value for name, value in each.items()} for each in reports]
    return records.typed(Trial, entry | {"history": history})


def trial_id(settings: dict[str, Any], seed: int, fingerprint: str) -> str:
    """Ten hex digits that settings, seed and data decide."""
    facts = json.dumps([settings, seed, fingerprint], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()[:10]


def _rank(configuration: Configuration) -> tuple[bool, int, float]:
    value = configuration.known_map_at_r
    last = 0 if configuration.is_complete else configuration.common_epoch
    return not configuration.is_complete, -last, math.inf if math.isnan(value) else -value
