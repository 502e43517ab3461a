"""What a supervisor on this machine says of the services it keeps running, for whoever asks how the system is.

One small file, `<home>/run/services.json`, whose size never changes: it is overwritten in place, so that saying
something takes no disk space and works while the queue is away. Its supervisor holds a `flock` on it to its end; a
file that nobody locks was left behind by one that was killed.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from workers.messages import Message, ServiceStatus

_SIZE = 65_536  # bytes; 64 workers with a reason each take half of it
_REASON_LENGTH = 300


@dataclass(frozen=True)
class Supervision(Message):
    """Who keeps the services of a home running, and how they are."""

    command: str
    pid: int
    logs: str
    services: tuple[ServiceStatus, ...]

    @classmethod
    def read(cls, home: Path) -> Self | None:
        """What the supervisor of a home said last; None where no supervisor lives."""
        with contextlib.suppress(OSError), _path(home).open("rb") as file:
            if _is_abandoned(file.fileno()):
                return None
            for _ in range(3):  # a reader may meet a half-written text; the next one is whole
                with contextlib.suppress(ValueError, TypeError, AttributeError):
                    return cls.from_json(json.loads(os.pread(file.fileno(), _SIZE, 0)))
        return None

    def problems(self) -> list[str]:
        """A sentence for each service that does not run as it should."""
        return [
            f"the {service.name} {_told(service)}; `{self.command}` (process {self.pid}) "
            f"{'waits for it' if service.state == 'starting' else _retry(service)}; see {self.logs}"
            for service in self.services
            if service.state != "running"
        ]


def _told(service: ServiceStatus) -> str:
    if service.state == "starting":
        return "is starting" + (f" again after it ended ({service.reason})" if service.reason else "")
    return f"ended ({service.reason})"


def _retry(service: ServiceStatus) -> str:
    left_s = max(0.0, (service.retry_at or 0.0) - time.time())
    return f"starts it again {f'in {left_s:.0f} s' if left_s >= 1 else 'now'}"


class SupervisionFile:
    """The supervisor's side of the file.

    Raises:
        OSError: it cannot be made, say because the disk is full. Later writes never fail: they are left out.
    """

    def __init__(self, home: Path, command: str) -> None:
        self._home, self._command = home, command
        path = _path(home)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)  # a reader holds it for an instant
        os.pwrite(self._descriptor, b" " * _SIZE, 0)  # the disk space is ours from here on
        self.write(())

    def write(self, services: Iterable[ServiceStatus]) -> None:
        """Replaces what is said. Safe to call from one thread at a time."""
        supervision = Supervision(self._command, os.getpid(), str(self._home / "logs"), tuple(services))
        text = json.dumps(supervision.to_json()).encode()
        if len(text) <= _SIZE:
            with contextlib.suppress(OSError):
                os.pwrite(self._descriptor, text.ljust(_SIZE), 0)

    def close(self) -> None:
        """Says that nobody supervises any more."""
        with contextlib.suppress(OSError):
            _path(self._home).unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = -1  # a late writer must not meet another file under this number


def shortened(reason: str) -> str:
    """A reason as it fits into the file and into one line."""
    line = " ".join(reason.split())
    return line if len(line) <= _REASON_LENGTH else line[: _REASON_LENGTH - 1] + "…"


def _path(home: Path) -> Path:
    return home / "run" / "services.json"


def _is_abandoned(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
