"""Which trials go on: ASHA in its promoting form (Li et al., "A System for Massively Parallel Hyperparameter Tuning",
MLSys 2020, Algorithm 2), with new settings before promotions.

Every trial stops at the first mark; the best third of those that reached it go on to the next, from their checkpoints.
What is ranked at a mark is a setting, by the mean over its repeats: single trials would be ranked by their luck.
Ray's own ASHAScheduler has the stopping form, which lets whatever comes early go on: where two trials run at a time,
twelve cost twice as much.
"""

import math
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

REDUCTION = 3


class Rungs:
    """What settings reached at each mark, in epochs: 1, 3, 9, … below the length of the longest trial."""

    def __init__(self, epochs: int) -> None:
        self.marks = tuple(REDUCTION**n for n in range(20) if REDUCTION**n < epochs)
        self._reached: dict[int, dict[str, float]] = {mark: {} for mark in self.marks}
        self._promoted: set[tuple[int, str]] = set()

    def reach(self, setting: str, mark: int, map_at_r: float) -> None:
        """Notes a setting's mean at a mark; one without a figure never goes on."""
        if not math.isnan(map_at_r):
            self._reached[mark][setting] = map_at_r

    def next(self, under_way: list[int]) -> tuple[str, int] | None:
        """The setting that may go on and the mark that it goes on from; None when none may, as things are.

        Args:
            under_way: the marks that running trials started from; 0 for the beginning.
        """
        for mark in self.marks:
            ranked = sorted(self._reached[mark], key=lambda setting: -self._reached[mark][setting])
            is_complete = all(start >= mark for start in under_way)
            quota = math.ceil(len(ranked) / REDUCTION) if is_complete else len(ranked) // REDUCTION
            for setting in ranked[:quota]:
                if (mark, setting) not in self._promoted:
                    return setting, mark
        return None

    def promote(self, setting: str, mark: int) -> None:
        """Says that a setting goes on, with all of its repeats."""
        self._promoted.add((mark, setting))

    def is_promoted(self, setting: str, mark: int) -> bool:
        """Whether a setting went on from a mark."""
        return (mark, setting) in self._promoted


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
