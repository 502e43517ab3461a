"""How long a person waits before anything: a command beside a running system, and a first start."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.suite.photos import folder_of, photos
from benchmarks.suite.record import ROOT, Effort, Found, race
from deploy.cli.find_files import Walk
from deploy.cli.upload_folder import index
from deploy.local.stack import Stack
from workers import settings
from workers.client import Client

LIMIT = "limit: Python that imports nothing"


def measure(effort: Effort) -> Found:
    """Each command is a process of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = folder_of(photos(effort.of(24, 4)), Path(scratch) / "photos")
        photo = str(next(folder.rglob("*.jpg")))
        home = {"LOOKALIKE_HOME": f"{scratch}/home"}
        homes = iter(range(1000))
        with Stack(settings.load(home)) as stack:
            index(Client(stack.settings), Walk([folder]), progress=lambda _done, _total: None)
            commands = race(
                {
                    "lookalike search": lambda: _lookalike(["search", photo, "--json"], home),
                    LIMIT: _bare_python,
                    "lookalike status": lambda: _lookalike(["status", "--json"], home),
                    "lookalike --help": lambda: _lookalike(["--help"], home),
                },
                effort,
                what="a command, the system running",
                unit="s",
                limit=LIMIT,
            )

        def start(environment: dict[str, str]) -> float:
            began = time.perf_counter()
            with Stack(settings.load(environment), portal=("127.0.0.1", 0)):
                return time.perf_counter() - began

        starts = race(
            {
                "first start": lambda: start({"LOOKALIKE_HOME": f"{scratch}/new-{next(homes)}"}),
                "a later start": lambda: start(home),
            },
            effort,
            what="the whole system with its portal, until it answers",
            unit="s",
        )
    figures = {
        "lookalike search, s": commands.median("lookalike search"),
        "first start, s": starts.median("first start"),
    }
    return Found({"commands": commands, "starts": starts}, figures=figures)


def _bare_python() -> None:
    _python(["-c", ""], {})


def _lookalike(arguments: list[str], environment: dict[str, str]) -> None:
    said = _python(["-P", "-m", "deploy.cli", *arguments], environment)
    if "--json" in arguments:
        json.loads(said)


def _python(arguments: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        env=dict(os.environ) | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout
