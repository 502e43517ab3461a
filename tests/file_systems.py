"""Small file systems for tests of full disks: mounted for one command alone, in a namespace that ends with it."""

import functools
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
_NAMESPACE = ["unshare", "--map-root-user", "--mount"]


@functools.cache
def can_mount() -> bool:
    """Whether this system lets us mount something in a namespace of our own."""
    if shutil.which("unshare") is None:
        return False
    command = [*_NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(command, capture_output=True).returncode == 0


def command_within(folder: Path, options: str, command: Sequence[object]) -> list[str]:
    """The command line that runs a command which finds a small file system in a folder.

    Args:
        options: of the mount, `size=1m` for example.
    """
    script = 'mount -t tmpfs -o "$2" tmpfs "$1" && shift 2 && exec "$@"'
    return [*_NAMESPACE, "sh", "-c", script, "sh", str(folder), options, *map(str, command)]


def run_within(
    folder: Path, options: str, command: Sequence[object], **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs a command that finds a small file system in a folder, to its end."""
    return subprocess.run(
        command_within(folder, options, command),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
        timeout=240,
    )
