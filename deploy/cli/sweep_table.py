"""The trials of a sweep while it runs: a live table on a terminal, else a line for each that ends."""

import math
import os
import sys
from typing import TYPE_CHECKING, Any

from deploy.cli.console import Console

if TYPE_CHECKING:
    from rich.live import Live

    from ml.sweeps.plan import SweepPlan
    from ml.sweeps.record import Record, Trial

_ROWS = 20


class Table:
    """A context manager; `show` draws what a record holds now."""

    def __init__(self, console: Console, plan: "SweepPlan") -> None:
        self._console, self._plan = console, plan
        self._total = plan.trials * plan.repeats
        self._told: dict[str, tuple[int, str, int]] = {}  # trial -> its number, its state and epochs when last told
        self._live: Live | None = None

    def __enter__(self) -> "Table":
        if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            from rich.console import Console as Terminal
            from rich.live import Live

            self._console.settle()
            self._live = Live(console=Terminal(stderr=True), refresh_per_second=4)
            self._live.start()
        else:
            self._console.say(_trials(self._total))
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, record: "Record") -> None:
        """Draws anew, or says what has ended since the last call."""
        if self._live:
            self._live.update(self._drawn(record))
            return
        for trial in record.trials.values():
            is_measurement = record.is_measurement(trial)
            number, *before = self._told.get(trial.id, (1 + len(self._told),))
            now = [trial.state, len(trial.history)]
            if trial.state != "running" and before != now:  # one that was cut may have gone on
                self._told[trial.id] = (number, trial.state, len(trial.history))
                what = "the best, measured anew" if is_measurement else f"trial {number} of {self._total}"
                where = f" after epoch {len(trial.history)}" if trial.state == "pruned" else ""
                reason = f": {trial.reason}" if trial.reason else ""
                self._console.say(
                    f"{what}  {settings_text(trial)}  {trial.state}{where}{reason}"
                    f"  mAP@R {_figure(trial)}  {trial.seconds:.0f} s"
                )

    def _drawn(self, record: "Record") -> Any:
        from rich.markup import escape
        from rich.table import Table as Drawn

        trials = list(record.trials.values())
        ended = sum(trial.state != "running" for trial in trials)
        title = f"{ended} of {_trials(self._total)}" if ended <= self._total else _trials(ended)
        drawn = Drawn(title=title, title_justify="left")
        for name in (*self._plan.space, "state", "epoch", "mAP@R", "s"):
            drawn.add_column(name, justify="right" if name in ("epoch", "mAP@R", "s") else "left")
        shown = sorted(trials, key=lambda trial: (trial.state != "running", -_or_low(trial.last_map_at_r)))[:_ROWS]
        for trial in shown:
            cells = [escape(value_text(trial.settings.get(name))) for name in self._plan.space]
            style = {"done": "green", "failed": "red", "pruned": "yellow"}.get(trial.state, "")
            figures = [str(len(trial.history)), _figure(trial), f"{trial.seconds:.0f}"]
            drawn.add_row(*cells, trial.state, *figures, style=style)
        return drawn


def _trials(count: int) -> str:
    return f"{count} trial{'' if count == 1 else 's'}"


def settings_text(trial: "Trial") -> str:
    """Settings in one line."""
    return "  ".join(f"{name}={value_text(value)}" for name, value in trial.settings.items())


def value_text(value: Any) -> str:
    """A setting's value, short."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _figure(trial: "Trial") -> str:
    value = trial.last_map_at_r
    return "–" if math.isnan(value) else f"{100 * value:.1f}"


def _or_low(value: float) -> float:
    return -1.0 if math.isnan(value) else value
