"""Which trials go on: ASHA in its promoting form (Li et al., "A System for Massively Parallel Hyperparameter Tuning",
MLSys 2020, Algorithm 2), with new settings before promotions.

Every trial stops at the first mark; the best third of those that reached it go on to the next, from their checkpoints.
Ray's own ASHAScheduler has the stopping form, which lets whatever comes early go on: where two trials run at a time,
twelve cost twice as much.
"""

import math
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

REDUCTION = 3


class Rungs:
    """What trials reached at each mark, in epochs: 1, 3, 9, … below the length of the longest trial."""

    def __init__(self, epochs: int) -> None:
        self.marks = tuple(REDUCTION**n for n in range(20) if REDUCTION**n < epochs)
        self._reached: dict[int, dict[str, float]] = {mark: {} for mark in self.marks}
        self._promoted: set[tuple[int, str]] = set()

    def reach(self, trial: str, mark: int, map_at_r: float) -> None:
        """Notes a trial's figure at a mark; one without a figure never goes on."""
        if not math.isnan(map_at_r):
            self._reached[mark][trial] = map_at_r

    def next(self, under_way: list[int]) -> tuple[str, int] | None:
        """The trial that may go on and the mark that it goes on from; None when nobody may, as things are.

        Args:
            under_way: the marks that running trials started from; 0 for the beginning.
        """
        for mark in self.marks:
            ranked = sorted(self._reached[mark], key=lambda trial: -self._reached[mark][trial])
            is_complete = all(start >= mark for start in under_way)
            quota = math.ceil(len(ranked) / REDUCTION) if is_complete else len(ranked) // REDUCTION
            for trial in ranked[:quota]:
                if (mark, trial) not in self._promoted:
                    return trial, mark
        return None

    def promote(self, trial: str, mark: int) -> None:
        """Says that a trial goes on."""
        self._promoted.add((mark, trial))


class StopAtMarks(FIFOScheduler):
    """Ray Tune's side: ends a trial at the next mark. Whether it goes on is decided when the next one is asked for."""

    def __init__(self, marks: tuple[int, ...], epochs: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._marks, self._epochs = marks, epochs

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """STOP at a mark behind the one that the trial started from, unless it is the trial's end."""
        last = trial.config["settings"].get("epochs", self._epochs)
        is_mark = result["epoch"] in self._marks and trial.config["start"] < result["epoch"] < last
        return TrialScheduler.STOP if is_mark else TrialScheduler.CONTINUE
