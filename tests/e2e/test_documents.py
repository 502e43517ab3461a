"""What the documents tell people to type works: every block of commands that is not marked is typed here.

A page is followed from top to bottom, in a home of its own with ~/Pictures and some photos, as its reader would.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.documents import ROOT, blocks, pages
from tests.e2e.conftest import Program
from tests.processes import free_port

WITH_COMMANDS = [page for page in pages() if any(not block.needs for block in blocks(page))]


class Reader:
    """Someone who types what a page says."""

    def __init__(self, program: Program, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._port = free_port()
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = {**program.environment, "HOME": str(folder), "PATH": programs}

    def types(self, line: str) -> None:
        """Types one line; a system that is started stays until the test ends."""
        line = line.replace("8000", str(self._port))
        if line.startswith("lookalike up"):
            self._start(line)
        elif line.startswith(". "):
            pass  # the environment is this one
        else:
            line = re.sub(r"\bMODEL\b", lambda _: self._newest_model(), line)
            done = self._run(line)
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"

    def _run(self, line: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["/bin/sh", "-c", line],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=240,
        )

    def _newest_model(self) -> str:
        """The list is in order of registration."""
        listed = json.loads(self._run("lookalike models --json").stdout)["models"]
        return str(listed[-1]["name"])

    def _start(self, line: str) -> None:
        arguments = line.partition("#")[0].split()[1:]
        if "--port" not in arguments:
            arguments += ["--port", str(self._port)]
        self._program.environment |= self._environment
        process = self._program.start(*arguments)
        deadline = time.monotonic() + 200
        while True:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "the system does not start"
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/api/v1/health", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)


PHOTOS = ("photo.jpg", "front.jpg", "side.jpg", "shelf.jpg", "jug.jpg")  # that pages name


@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_can_be_followed(
    page: Path, new_program: Callable[..., Program], demo_photos: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "reader"
    shutil.copytree(demo_photos, folder / "Pictures")
    for name, photo in zip(PHOTOS, sorted((folder / "Pictures").rglob("*.jpg")), strict=False):
        photo.rename(folder / name)
    reader = Reader(new_program(), folder)
    for block in blocks(page):
        if not block.needs:
            for line in block.commands:
                reader.types(line)
