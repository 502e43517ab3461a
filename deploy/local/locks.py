"""Locks on a home: who may run a system on it, and which commands are attached to the one that runs.

Three files in `<home>/run`, locked with `flock`, so that no lock outlives its processes:

supervisor.lock   held by the supervisor itself: held means that a system is alive on this home
stack.lock        held by the supervisor and, inherited, by its reaper: free means that every service has ended
attached.lock     shared by commands that use a temporary system of another command; its owner waits for them

`stack.json` beside them describes the running system. It is there from the first moment of a start until the first
moment of a stop, and holds the password of the embedded Valkey: readable by its owner alone.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from ml import files
from ml.errors import LookalikeError

TURNOVER_S = 15.0  # how long the services of a killed system may take to go; the reaper needs at most 8


class AlreadyRunning(LookalikeError):
    """Another process runs a system on this home."""


@dataclass(frozen=True)
class Description:
    """What runs on a home, for other commands of the same user. `portal` is its address, None without one."""

    pid: int
    redis_url: str
    storage: str
    portal: str | None
    started_at: float
    is_ready: bool

    @classmethod
    def read(cls, home: Path) -> Self | None:
        """The description on this home, None when there is none or it is just being replaced."""
        try:
            return cls(**json.loads(_path(home).read_text("utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def write(self, home: Path) -> None:
        """Replaces the description on this home, atomically; mode 0600."""
        files.write(_path(home), json.dumps(dataclasses.asdict(self)), mode=0o600)

    @staticmethod
    def remove(home: Path) -> None:
        _path(home).unlink(missing_ok=True)


def _path(home: Path) -> Path:
    return home / "run" / "stack.json"


class FileLock:
    """One `flock` on a file that is made when missing. Blocks nobody unless asked to."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def try_exclusive(self) -> bool:
        return self._try(fcntl.LOCK_EX | fcntl.LOCK_NB)

    def try_shared(self) -> bool:
        return self._try(fcntl.LOCK_SH | fcntl.LOCK_NB)

    def _try(self, operation: int) -> bool:
        try:
            fcntl.flock(self.descriptor, operation)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Gives the lock back; not so for a copy that another process inherited. Harmless when called twice."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class HomeLock:
    """The right to run a system on a home, held from construction to `release`.

    Raises:
        AlreadyRunning: a living system holds it, or its remains do not go away within 15 seconds.
    """

    def __init__(self, home: Path, *, wait_s: float = TURNOVER_S) -> None:
        with contextlib.ExitStack() as unless_complete:
            supervisor = FileLock(home / "run" / "supervisor.lock")
            unless_complete.callback(supervisor.release)
            self.stack = FileLock(home / "run" / "stack.lock")
            unless_complete.callback(self.stack.release)
            self._supervisor = supervisor
            self._take(home, wait_s)
            unless_complete.pop_all()

    def _take(self, home: Path, wait_s: float) -> None:
        started = time.monotonic()
        while not self._supervisor.try_exclusive():
            waited = time.monotonic() - started
            described = Description.read(home)
            # A moment's patience: `is_held` borrows the lock for an instant, and a stopping system has no description.
            if waited > wait_s or (described and waited > 1.0):
                raise AlreadyRunning(
                    f"a system already runs on {home}"
                    + (_where(described) if described else ", just starting or stopping"),
                    hint="use it, stop it with Ctrl-C there, or choose another LOOKALIKE_HOME",
                )
            time.sleep(0.05)
        Description.remove(home)  # of a killed system, whose services are only ending
        while not self.stack.try_exclusive():
            if time.monotonic() - started > wait_s:
                raise AlreadyRunning(
                    f"services of an earlier system still run on {home}", hint="wait a moment, then start again"
                )
            time.sleep(0.05)

    def release(self) -> None:
        self._supervisor.release()
        self.stack.release()


def _where(described: Description) -> str:
    return f" (process {described.pid}" + (f", {described.portal})" if described.portal else ")")


def is_held(home: Path) -> bool:
    """Whether a system is alive on this home."""
    if not (home / "run" / "supervisor.lock").exists():
        return False
    with FileLock(home / "run" / "supervisor.lock") as lock:
        return not lock.try_shared()


def attached_lock(home: Path) -> FileLock:
    """The lock that commands share which are attached to another command's system."""
    return FileLock(home / "run" / "attached.lock")
