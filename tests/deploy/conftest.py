"""A home that is thrown away, and a system on it whose worker and portal are stand-ins."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.local import stack
from tests.deploy import stand_ins
from workers import settings
from workers.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home_settings(tmp_path: Path) -> Settings:
    """Settings of an empty home, and nothing else from the environment."""
    return settings.load({"LOOKALIKE_HOME": str(tmp_path / "home"), "LOOKALIKE_CONFIG": ""})


@pytest.fixture
def stand_in_services(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "worker_command", lambda: stand_ins.WORKER)
    monkeypatch.setattr(stack, "portal_command", stand_ins.portal)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Runs lines of Python, with stand-in services, in another process; it is killed when the test ends."""
    running: list[subprocess.Popen[str]] = []

    def run(program: str) -> subprocess.Popen[str]:
        preamble = f"""
            import sys, time
            sys.path.insert(0, {str(ROOT)!r})
            from deploy.local import connection, stack
            from deploy.local.stack import Stack
            from tests.deploy import stand_ins
            from workers import settings
            stack.worker_command = lambda: stand_ins.WORKER
            stack.portal_command = stand_ins.portal
            settings = settings.load({{"LOOKALIKE_HOME": {str(tmp_path / "home")!r}}})
        """
        text = textwrap.dedent(preamble) + textwrap.dedent(program)
        process = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
        running.append(process)
        return process

    yield run
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout:
            process.stdout.close()
