"""Small and read-only file systems for tests: mounted for one command alone, in a namespace that ends with it."""

import functools
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
_NAMESPACE = ["unshare", "--map-root-user", "--mount"]
_SMALL = 'mount -t tmpfs -o "$2" tmpfs "$1" && shift 2 && exec "$@"'
_READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift 1 && exec "$@"'


@functools.cache
def can_mount() -> bool:
    """Whether this system lets us mount something in a namespace of our own."""
    if shutil.which("unshare") is None:
        return False
    command = [*_NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(command, capture_output=True).returncode == 0


def run_within(
    folder: Path, options: str, command: Sequence[object], environment: Mapping[str, str]
) -> "subprocess.CompletedProcess[str]":
    """Runs a command to its end that finds an empty file system in a folder.

    Args:
        options: of the mount, `size=1m` for example.
    """
    return _run([*_NAMESPACE, "sh", "-c", _SMALL, "sh", str(folder), options, *map(str, command)], environment)


def read_only_within(
    folder: Path, command: Sequence[object], environment: Mapping[str, str]
) -> "subprocess.CompletedProcess[str]":
    """Runs a command to its end that can read a folder and not write it, whoever it is."""
    return _run([*_NAMESPACE, "sh", "-c", _READ_ONLY, "sh", str(folder), *map(str, command)], environment)


def _run(command: list[str], environment: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=_without_empty(environment), timeout=240
    )


def _without_empty(environment: Mapping[str, str]) -> dict[str, str]:
    """Ours without our settings, and the given one; an empty value takes a variable away."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LOOKALIKE_", "RAY_"))}
    return {name: value for name, value in {**kept, **environment}.items() if value}
