"""What a run reports while it goes on: the face that a terminal and a job record both have."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ml.sweeps.plan import SweepPlan
    from ml.sweeps.record import Record
    from ml.training.finetune import EpochReport


class Report:
    """Reports nothing; others override what they show. Every method returns at once."""

    def progress(self, phase: str, done: int, total: int) -> None:
        """How far a phase is: reading files, decoding, embedding. A new name begins a new phase."""

    def step(self, line: str) -> None:
        """What begins now and cannot be counted."""

    def say(self, line: str) -> None:
        """A line that a person wants to keep."""

    def epoch(self, epoch: "EpochReport") -> None:
        """An epoch of training has ended."""

    def registered(self, model: str) -> None:
        """The model of the run is registered under this name."""

    def trials(self, record: "Record", plan: "SweepPlan") -> None:
        """The trials of a sweep have changed; called before the first one, too."""
