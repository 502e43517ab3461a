"""What a command says and to whom: results on stdout, talk and errors on stderr.

`@command` makes a function a sub-command with what all of them share: `--json`, `--debug`, an example under `--help`,
and a `Console` as its first argument. With `--json` one object goes to stdout and nothing else does, whatever a library
may print: file descriptor 1 is turned to stderr and the real one kept for the result.
"""

import contextlib
import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.status import Status

PLAIN_EVERY_S = 2.0  # between two lines of progress where no bar can be drawn
_ALIVE_EVERY_S = 30.0  # … that say the same


class Console:
    """One command's way to talk. Made by the program, handed to the command.

    Args:
        owns_process: whether file descriptor 1 is ours to turn; False under a test runner.
    """

    def __init__(self, *, owns_process: bool = False) -> None:
        self.is_json = False
        self.is_debug = False
        self._owns_process = owns_process
        self._output: IO[str] | None = None
        self._spinner: Status | None = None

    def use_json(self) -> None:
        """From here on stdout is for one object alone."""
        self.is_json = True
        if self._owns_process:
            sys.stdout.flush()
            self._output = os.fdopen(os.dup(1), "w", encoding="utf-8")
            os.dup2(2, 1)

    def use_debug(self) -> None:
        """Errors come with their traceback, and the log with all its lines."""
        self.is_debug = True
        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr, format="%(asctime)s %(name)s: %(message)s")

    def result(self, data: dict[str, Any]) -> None:
        """The one object of `--json`; nothing without it."""
        self.settle()
        if not self.is_json:
            return
        output = self._output or sys.stdout
        output.write(json.dumps(data, ensure_ascii=False, indent=2 if output.isatty() else None) + "\n")
        output.flush()

    def show(self, text: str = "") -> None:
        """A line of the result for people; nothing with `--json`."""
        self.settle()
        if not self.is_json:
            click.echo(text)

    def say(self, line: str) -> None:
        """A line about what is going on."""
        self.settle()
        click.echo(line, err=True)

    def error(self, message: str, hint: str = "") -> None:
        """What went wrong, one line, and what to do next, another."""
        self.settle()
        mark = click.style("error:", fg="red", bold=True) if _is_terminal() else "error:"
        click.echo(f"{mark} {' '.join(message.split())}", err=True)
        if hint:
            click.echo(f"hint: {' '.join(hint.split())}", err=True)
        if self.is_debug and sys.exception():
            click.echo(traceback.format_exc(), err=True)

    def step(self, line: str) -> None:
        """What begins now, in work that is made of steps: a spinner on a terminal, else a line."""
        if not _is_terminal():
            self.say(line)
        elif self._spinner:
            self._spinner.update(line)
        else:
            from rich.console import Console as Terminal

            self._spinner = Terminal(stderr=True).status(line)
            self._spinner.start()

    def settle(self) -> None:
        """Takes the spinner away: something else is about to be written."""
        if self._spinner:
            self._spinner.stop()
            self._spinner = None

    @contextlib.contextmanager
    def progress(self, task: str, total: int | None = None) -> Iterator[Callable[[int, int | None], None]]:
        """For work that can be counted: yields a function of (done, total so far) that draws a bar or writes lines."""
        self.settle()
        if not _is_terminal():
            yield self._plain_progress(task, total)
            return
        from rich.console import Console as Terminal
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeRemainingColumn(), console=Terminal(stderr=True), transient=True) as bar:
            number = bar.add_task(task, total=total)

            def show(done: int, now_total: int | None = None) -> None:
                bar.update(number, completed=done, total=now_total or total)

            yield show

    def _plain_progress(self, task: str, total: int | None) -> Callable[[int, int | None], None]:
        last, said = time.monotonic(), ""

        def show(done: int, now_total: int | None = None) -> None:
            nonlocal last, said
            known = now_total or total
            line = f"{task}: {done}" + (f" of {known}" if known else "")
            if time.monotonic() - last >= (PLAIN_EVERY_S if line != said else _ALIVE_EVERY_S):
                last, said = time.monotonic(), line
                self.say(line)

        return show


def _is_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class Phases:
    """One bar after another, for work in several phases: reading files, decoding, epochs of training, embedding.

    Draws a bar of its own for each phase that `show` names; a context manager that takes the last one away. `on_phase`
    gets the name of each phase when it begins.
    """

    def __init__(self, console: Console, on_phase: Callable[[str], None] = lambda phase: None) -> None:
        self._console = console
        self._on_phase = on_phase
        self._open = contextlib.ExitStack()
        self._phase = ""
        self._draw: Callable[[int, int | None], None] | None = None

    def __enter__(self) -> "Phases":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def show(self, phase: str, done: int, total: int) -> None:
        """Progress of the phase `phase`. The bar of an earlier phase makes room."""
        if phase != self._phase or self._draw is None:
            self.close()
            self._phase, self._draw = phase, self._open.enter_context(self._console.progress(phase, total))
            self._on_phase(phase)
        self._draw(done, total)

    def say(self, line: str) -> None:
        """A line that stays, above the bar."""
        self.close()
        self._console.say(line)

    def close(self) -> None:
        """Takes the bar away."""
        self._open.close()
        self._phase, self._draw = "", None


class _SaysWhere(click.Command):
    """Errors of its command line know which command's they are: click's parser leaves it out of some."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise


class _Group(_SaysWhere, click.Group):
    """The same, of one that has actions."""


def command(
    name: str, *, example: str, has_json: bool = True, actions: Sequence[click.Command] = ()
) -> Callable[[Callable[..., None]], click.Command]:
    """Makes a function `(console, …)` the sub-command `name`; its docstring is the help, `example` stands under it.

    With `actions` it is also a group: called with the name of one of them, that one runs instead of the function.
    """

    def decorate(function: Callable[..., None]) -> click.Command:
        def call(*arguments: Any, **options: Any) -> None:
            context = click.get_current_context()
            if context.invoked_subcommand is None:
                function(context.ensure_object(Console), *arguments, **options)

        call.__doc__ = function.__doc__
        # click collects the parameters that decorators below this one left on the function.
        call.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
        sub_command: click.Command
        if actions:
            metavar = "[COMMAND [ARGS]...]"
            group = click.group(name, cls=_Group, invoke_without_command=True, subcommand_metavar=metavar)
            sub_command = group(call)
            for action in actions:
                sub_command.add_command(action)
        else:
            sub_command = click.command(name, cls=_SaysWhere)(call)
        sub_command.epilog, sub_command.context_settings = f"\b\nExample:\n  {example}", _CONTEXT
        if has_json:
            sub_command.params.append(
                _switch("--json", "One JSON object on stdout, and nothing else there.", Console.use_json)
            )
        sub_command.params.append(_switch("--debug", "Show tracebacks and all log lines.", Console.use_debug))
        return sub_command

    return decorate


_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def _switch(name: str, help: str, turn_on: Callable[[Console], None]) -> click.Option:
    def callback(context: click.Context, _option: click.Parameter, value: bool) -> None:
        if value:
            turn_on(context.ensure_object(Console))

    return click.Option([name], is_flag=True, is_eager=True, expose_value=False, help=help, callback=callback)


def bar(share: float, width: int = 20) -> str:
    """A share in [0, 1] as a bar of text: eighths of a block where the terminal can show them."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    full, part = divmod(eighths, 8)
    return "█" * full + (" ▏▎▍▌▋▊▉"[part] if part else "")


def table(rows: Sequence[Sequence[str]], heads: Sequence[str]) -> str:
    """Rows under heads, in columns as wide as they need to be."""
    everything = [list(heads), *map(list, rows)]
    widths = [max(len(row[column]) for row in everything) for column in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in everything
    )
