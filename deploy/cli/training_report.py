"""What a training or sweep reports, on a terminal: bars for phases, lines for epochs, a table for trials."""

import contextlib
from typing import TYPE_CHECKING

from deploy.cli.console import Console, Phases
from deploy.cli.sweep_table import Table
from workers.trainer.report import Report

if TYPE_CHECKING:
    from ml.sweeps.plan import SweepPlan
    from ml.sweeps.record import Record


class ConsoleReport(Report):
    """A context manager that takes bar and table away at its end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._phases = Phases(console)
        self._open_table = contextlib.ExitStack()
        self._table: Table | None = None

    def __enter__(self) -> "ConsoleReport":
        return self

    def __exit__(self, *_: object) -> None:
        self._phases.close()
        self._close_table()

    def progress(self, phase: str, done: int, total: int) -> None:
        self._close_table()
        self._phases.show(phase, done, total)

    def step(self, line: str) -> None:
        self._close_table()
        self._phases.close()
        self._console.step(line)

    def say(self, line: str) -> None:
        self._close_table()
        self._phases.say(line)

    def trials(self, record: "Record", plan: "SweepPlan") -> None:
        if self._table is None:
            self._phases.close()
            self._table = self._open_table.enter_context(Table(self._console, plan))
        self._table.show(record)

    def _close_table(self) -> None:
        self._open_table.close()
        self._table = None
