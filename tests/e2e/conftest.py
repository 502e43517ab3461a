"""The real thing: embedded Valkey, a worker with the default model, the portal, and the program `lookalike`."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deploy.cli.find_files import Walk
from deploy.cli.upload_folder import index
from deploy.local.stack import Stack
from workers import settings as settings_of
from workers.client import Client
from workers.settings import Settings

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class RunningStack:
    """A running system with the demo photos in its gallery."""

    base_url: str
    settings: Settings
    client: Client
    photos: Path
    parts: Stack


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that outlives its test: photos that are read in place belong to the system that all tests share."""
    return tmp_path_factory.mktemp(re.sub(r"\W", "_", request.node.name)[:30])


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, demo_photos: Path) -> Iterator[RunningStack]:
    """One system for all tests that do not break it: photos may be added, but those of `photos` must stay."""
    settings = settings_of.load({"LOOKALIKE_HOME": str(tmp_path_factory.mktemp("stack"))})
    with Stack(settings, portal=("127.0.0.1", 0)) as parts:
        client = Client(parts.settings)
        index(client, Walk([demo_photos]), progress=lambda _done, _total: None)
        assert parts.address
        yield RunningStack(parts.address, parts.settings, client, demo_photos, parts)


@dataclass(frozen=True)
class Finished:
    """How a command ended. `report` is its one object when it was asked for --json."""

    status: int
    output: str
    errors: str

    @property
    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.output)
        return report


class Program:
    """The program `lookalike` on one home, from a folder of its own, with nothing else in its environment."""

    def __init__(self, home: Path, folder: Path, environment: dict[str, str]) -> None:
        self.home = home
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LOOKALIKE_")}
        self.environment = {**kept, "LOOKALIKE_HOME": str(home), **environment}
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Starts a command; it is interrupted when the test ends."""
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "deploy.cli", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=self.environment,
        )
        self.started.append(process)
        return process

    def __call__(self, *arguments: str | Path, timeout_s: float = 240) -> Finished:
        """Runs a command to its end."""
        process = self.start(*arguments)
        output, errors = process.communicate(timeout=timeout_s)
        return Finished(process.returncode, output, errors)


@pytest.fixture
def new_program(stack: RunningStack, tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Makes programs, each on a home that is thrown away: `new_program(LOOKALIKE_…=…)`.

    The running system's compiled model is copied: compiling it is most of the first start on a machine.
    """
    made: list[Program] = []

    def new_program(**environment: str) -> Program:
        home = tmp_path / f"home-{len(made)}"
        shutil.copytree(stack.settings.home / "cache", home / "cache")
        made.append(Program(home, tmp_path, environment))
        return made[-1]

    yield new_program
    for program in made:
        for process in program.started:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            try:
                process.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


@pytest.fixture
def lookalike(new_program: Callable[..., Program]) -> Program:
    """The program on a new home."""
    return new_program()


@pytest.fixture
def at_stack(stack: RunningStack, new_program: Callable[..., Program]) -> Program:
    """The program on the home of the running system."""
    program = new_program()
    program.environment["LOOKALIKE_HOME"] = str(stack.settings.home)
    program.home = stack.settings.home
    return program
