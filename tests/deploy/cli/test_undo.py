"""Whatever a command takes away, a command brings back: each that changes something is walked, and taken back.

A command that is new has to be put into one of the two tables below, so that nobody forgets to think of it.
"""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest

from deploy.cli.__main__ import program, run
from deploy.cli.console import Console
from tests.deploy.cli.test_models import registry as registry
from tests.web.conftest import keep, possessions
from tests.web.stand_in import StandInClient
from workers import settings as settings_of

# What these do adds, asks, runs, or copies; nothing that was there goes.
LOSE_NOTHING = {
    **dict.fromkeys(("up", "demo", "worker", "trainer", "web"), "runs"),
    **dict.fromkeys(("search", "photos", "labels", "labels unlabelled", "labels outliers", "answers"), "asks"),
    **dict.fromkeys(("trash", "coverage", "why", "duplicates", "duplicates groups", "models", "queries"), "asks"),
    **dict.fromkeys(("status", "evaluate", "embed"), "asks"),
    **dict.fromkeys(("index", "queries save", "train", "sweep"), "adds"),
    **dict.fromkeys(("answers export", "export", "backup", "migrate"), "copies"),
    "undo": "brings back",
    "trash restore": "brings back",
    "models restore": "brings back",
    "restore": "adds what an archive holds, and keeps the later of two records",
    "verify": "repairs what is damaged",
    "coverage retry": "asks a watcher to look again",
    "watch": "moves what has gone from the disk to the trash, and back when it returns: tests/deploy/cli/watching",
}
# This is meant for good, and says so: it takes only what is in the trash.
FOR_GOOD = {"trash empty"}


COLOURS = {"red": (200, 9, 9), "blue": (9, 9, 200)}


@dataclass
class World:
    """A gallery with two labelled photos, a saved query, an answer, a running job and two models."""

    client: StandInClient
    red: str
    blue: str
    job: str
    registry: Any
    folder: Path
    capture: pytest.CaptureFixture[str]

    def state(self) -> Any:
        """Everything that could be lost."""
        return possessions(self.client), {record.name for record in self.registry.models()}

    def __call__(self, *arguments: str | Path) -> Any:
        """Runs a command; returns the object that it prints."""
        self.capture.readouterr()
        status = run([*map(str, arguments), "--json"], Console())
        out, errors = self.capture.readouterr()
        assert status == 0, errors
        return json.loads(out)

    def undo(self, done: Any) -> None:
        """As each command says that it is taken back."""
        for job in done.get("jobs") or [done["job"]]:
            self("undo", job)

    def take(self, same: bool) -> None:
        table = self.folder / "answers.csv"
        table.write_text(f"one,other,same\n{self.red},{self.blue},{str(same).lower()}\n")
        self("answers", "import", table)


Step = Callable[[World], Any]
WALKED: dict[str, tuple[Step, Callable[[World, Any], Any]]] = {
    "delete": (lambda w: w("delete", w.red, w.blue), World.undo),
    "delete, and restored": (lambda w: w("delete", w.red), lambda w, _: w("trash", "restore", w.red)),
    "label": (lambda w: w("label", w.red, w.blue, "--as", "green"), World.undo),
    "label, taken away": (lambda w: w("label", w.red, "--as", ""), World.undo),
    "labels rename": (lambda w: w("labels", "rename", "red", "green"), World.undo),
    "labels rename, which merges": (lambda w: w("labels", "rename", "red", "blue"), World.undo),
    "labels remove": (lambda w: w("labels", "remove", "red"), World.undo),
    "answers give": (
        lambda w: w("answers", "give", w.red, w.blue, "--same"),
        lambda w, _: w("answers", "give", w.red, w.blue, "--not-same"),
    ),
    "answers give, taken back": (
        lambda w: w("answers", "give", w.red, w.blue, "--take-back"),
        lambda w, _: w("answers", "give", w.red, w.blue, "--not-same"),
    ),
    "answers import": (lambda w: w.take(True), lambda w, _: w.take(False)),
    "duplicates keep": (lambda w: w("duplicates", "keep", w.red, w.blue), World.undo),
    "duplicates apart": (
        lambda w: w("duplicates", "apart", w.red, w.blue),
        lambda w, _: w("duplicates", "apart", w.red, w.blue, "--take-back"),
    ),
    "queries remove": (lambda w: w("queries", "remove", w.red), World.undo),
    "models remove": (lambda w: w("models", "remove", "first"), lambda w, _: w("models", "restore", "first")),
    "publish": (lambda w: w.client.publish("untrained"), lambda w, _: w("rollback")),
    "rollback": (lambda w: w("rollback"), lambda w, _: w("rollback")),
    "tune": (lambda w: w.client.tune(), lambda w, _: w("rollback")),
    "jobs": (lambda w: w("jobs", "stop", w.job), lambda w, _: w("jobs", "retry", w.job)),
}


@pytest.fixture
def world(
    tmp_path: Path,
    registry: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> World:
    client = StandInClient(settings_of.load({"LOOKALIKE_HOME": str(tmp_path / "gallery")}))

    @contextlib.contextmanager
    def connect(*_: object, **__: object) -> Iterator[Any]:
        yield client.settings

    monkeypatch.setattr("deploy.local.connection.connect", connect)
    monkeypatch.setattr("workers.client.Client", lambda *_: client)
    red, blue = (keep(client, colour, f"{name}.jpg", name) for name, colour in COLOURS.items())
    client.save_query(id=red)
    client.answers.give(red, blue, False)
    client.publish("better")
    job = client._note("index", 1, 0, [])
    client._jobs[job] = dataclasses.replace(client._jobs[job], state="running")
    return World(client, red, blue, job, registry, tmp_path, capsys)


def every_command(group: click.Group, before: str = "") -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield f"{before}{name}"
        if isinstance(command, click.Group):
            yield from every_command(command, f"{before}{name} ")


def test_every_command_is_thought_of() -> None:
    walked = {name.split(",")[0] for name in WALKED}
    assert isinstance(program, click.Group)
    assert set(every_command(program)) == {*LOSE_NOTHING, *FOR_GOOD, *walked}


@pytest.mark.parametrize("name", WALKED)
def test_what_a_command_changes_is_taken_back(world: World, name: str) -> None:
    change, undo = WALKED[name]
    before = world.state(), len(world.client.running())
    done = change(world)
    assert (world.state(), len(world.client.running())) != before
    undo(world, done)
    assert world.state() == before[0]


def test_for_good_is_only_what_lies_in_the_trash(world: World) -> None:
    before = world.state()
    assert run(["trash", "empty", world.red], Console()) == 1
    world("trash", "empty")
    assert world.state() == before
