"""One bar after another, for work in several phases: reading files, decoding, epochs of training, embedding."""

import contextlib
from collections.abc import Callable

from deploy.cli.console import Console


class Phases:
    """Draws a bar of its own for each phase that `show` names; a context manager that takes the last one away.

    `on_phase` is told the name of a phase when it begins.
    """

    def __init__(self, console: Console, on_phase: Callable[[str], None] = lambda what: None) -> None:
        self._console = console
        self._on_phase = on_phase
        self._open = contextlib.ExitStack()
        self._what = ""
        self._draw: Callable[[int, int | None], None] | None = None

    def __enter__(self) -> "Phases":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def show(self, what: str, done: int, total: int) -> None:
        """Progress of the phase `what`. The bar of an earlier phase makes room."""
        if what != self._what or self._draw is None:
            self.close()
            self._what, self._draw = what, self._open.enter_context(self._console.progress(what, total))
            self._on_phase(what)
        self._draw(done, total)

    def say(self, line: str) -> None:
        """A line that stays, above the bar."""
        self.close()
        self._console.say(line)

    def close(self) -> None:
        """Takes the bar away."""
        self._open.close()
        self._what, self._draw = "", None
