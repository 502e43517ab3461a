"""Keeps child processes alive, and makes sure that none outlives us.

A `Service` is a program with a readiness check. A `ServiceRunner` runs one service: starts it, waits until it is
ready, restarts it when it dies (with exponential back-off, and not for ever). A `Reaper` is our handle on
`deploy/local/reaper.py`, the small process that ends the services when we can no longer do so ourselves.
`deploy.local.stack` says which services there are.
"""

import collections
import contextlib
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ml.errors import LookalikeError

log = logging.getLogger(__name__)

QUICK_DEATHS = 5  # this many deaths within QUICK_DEATHS_S, and the runner gives up
QUICK_DEATHS_S = 60.0
LOG_BYTES = 10_000_000
BACKOFF_S = 0.1  # before the first restart; doubled for each further death within QUICK_DEATHS_S
_START_MARK = "==== started"
_CLEAN = [sys.executable, "-I", "-S"]  # a Python with nothing but its standard library


class ServiceFailed(LookalikeError):
    """A service does not start, or keeps dying."""


@dataclass(frozen=True)
class Service:
    """A program to keep running. `is_ready` gets the process id and may be asked many times a second."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    is_ready: Callable[[int], bool]
    log_path: Path
    working_directory: Path
    start_timeout_s: float = 60.0
    inherited: tuple[int, ...] = field(default=())  # file descriptors, a listening socket for example


class Reaper:
    """The process that looks after the services' process groups once we are gone; started again should it die itself.

    Args:
        locks: file descriptors of locks that it keeps until the last service has ended.
    """

    def __init__(self, locks: Sequence[int]) -> None:
        self._locks = tuple(locks)
        self._groups: set[int] = set()
        self._guard = threading.Lock()
        self._start()

    def _start(self) -> None:
        reading, self.pipe = os.pipe()
        self._process = subprocess.Popen(
            [*_CLEAN, str(Path(__file__).with_name("reaper.py"))],
            stdin=reading,
            pass_fds=self._locks,
            start_new_session=True,
            cwd="/",
        )
        os.close(reading)
        self._send("".join(f"+{group}\n" for group in sorted(self._groups)))

    def _send(self, text: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # it died: `check` starts another
            os.write(self.pipe, text.encode())

    def check(self) -> None:
        """Starts another reaper when this one has died."""
        with self._guard:
            if self._process.poll() is not None:
                log.warning("the reaper died with status %s; starting another", self._process.returncode)
                os.close(self.pipe)
                self._start()

    def remember(self, group: int) -> None:
        """Notes a group that has registered with the reaper."""
        with self._guard:
            self._groups.add(group)

    def forget(self, group: int) -> None:
        """The group has ended: its number may come to belong to somebody else."""
        with self._guard:
            self._groups.discard(group)
            self._send(f"-{group}\n")

    @property
    def pid(self) -> int:
        return self._process.pid

    def close(self) -> None:
        """Lets it end, and with it whatever services are left."""
        os.close(self.pipe)
        self._process.wait()


class ServiceRunner:
    """Runs one service until told to stop.

    The thread that starts a process must live as long as the process: Linux's parent-death signal is the thread's.
    """

    def __init__(self, service: Service, reaper: Reaper, on_given_up: Callable[[ServiceFailed], None]) -> None:
        self.service = service
        self.pid: int | None = None
        self.restarts = 0
        self._reaper = reaper
        self._on_given_up = on_given_up
        self._ready = threading.Event()
        self._ended = threading.Event()
        self._stopping = threading.Event()
        self._failure: ServiceFailed | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name=f"runner of {service.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wait_until_ready(self) -> None:
        """Returns when the service is ready for the first time.

        Raises:
            ServiceFailed: it died before that, or took too long.
        """
        deadline = time.monotonic() + self.service.start_timeout_s
        while not self._ready.wait(0.02):
            if self._failure:
                raise self._failure
            if time.monotonic() > deadline:
                raise ServiceFailed(
                    f"the {self.service.name} is not ready after {self.service.start_timeout_s:.0f} s"
                    + self._last_log_line(),
                    hint=f"see {self.service.log_path}",
                )

    @property
    def is_ready(self) -> bool:
        """Whether the process that runs now is ready."""
        return self._ready.is_set()

    def kill(self) -> None:
        """Ends the process that runs now; another one is started."""
        if self.pid is not None:
            _kill_group(self.pid)

    def ask_to_stop(self) -> None:
        """Sends SIGTERM, and starts no other process."""
        self._stopping.set()
        process = self._process
        if process and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()

    def stop(self, timeout_s: float) -> None:
        """Waits for the process to end, and kills it and its children after `timeout_s`."""
        self.ask_to_stop()
        if not self._ended.wait(max(timeout_s, 0)) and self._process:
            log.warning("the %s did not end in time; killing it", self.service.name)
            _kill_group(self._process.pid)
            self._ended.wait(2.0)

    def _run(self) -> None:
        try:
            self._keep()
        except OSError as error:  # no more processes, no space for the log: trying again would not help
            self._give_up(f"the {self.service.name} cannot be run: {error}")
        finally:
            self._ended.set()

    def _keep(self) -> None:
        deaths: collections.deque[float] = collections.deque(maxlen=QUICK_DEATHS)
        while not self._stopping.is_set():
            status = self._run_once()
            if self._stopping.is_set():
                break
            deaths.append(time.monotonic())
            if not self.restarts and not self._ready.is_set():
                self._give_up(
                    f"the {self.service.name} did not start{self._last_log_line() or f' (exit status {status})'}"
                )
                break
            if len(deaths) == QUICK_DEATHS and deaths[-1] - deaths[0] < QUICK_DEATHS_S:
                self._give_up(
                    f"the {self.service.name} died {QUICK_DEATHS} times within a minute{self._last_log_line()}"
                )
                break
            self._ready.clear()
            self.restarts += 1
            recent = sum(deaths[-1] - death < QUICK_DEATHS_S for death in deaths)
            log.warning("the %s died (%s); restarting it", self.service.name, _cause(status))
            self._stopping.wait(BACKOFF_S * 2 ** (recent - 1))

    def _run_once(self) -> int:
        """Starts the process and stays with it to its end.

        Returns:
            Its exit status, negative for a signal.
        """
        self._reaper.check()
        exec_wrapper = str(Path(__file__).with_name("exec_wrapper.py"))
        with self.service.log_path.open("ab") as output:
            output.write(f"{_START_MARK} {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
            output.flush()
            process = subprocess.Popen(
                [*_CLEAN, exec_wrapper, str(self._reaper.pipe), *self.service.command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(self.service.environment),
                cwd=self.service.working_directory,
                pass_fds=(self._reaper.pipe, *self.service.inherited),
                start_new_session=True,
            )
        self._process = process
        self._reaper.remember(process.pid)
        self.pid = process.pid
        if self._stopping.is_set():  # asked to stop while we were starting it
            process.terminate()
        while process.poll() is None:
            if not self._ready.is_set() and self.service.is_ready(process.pid):
                self._ready.set()
            self._reaper.check()
            rotate(self.service.log_path)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1.0 if self._ready.is_set() else 0.05)
        # What the service itself started ends with it: a portal's processes would keep answering, a trainer's go on.
        _kill_group(process.pid)
        self._reaper.forget(process.pid)
        self.pid = None
        return process.returncode

    def _give_up(self, message: str) -> None:
        self._failure = ServiceFailed(message, hint=f"see {self.service.log_path}")
        self._on_given_up(self._failure)

    def _last_log_line(self) -> str:
        """The last line of the service's log, ready to be appended to a message."""
        with contextlib.suppress(FileNotFoundError):
            tail = self.service.log_path.read_bytes()[-4096:].decode("utf-8", "replace").rpartition(_START_MARK)[2]
            lines = [line.strip() for line in tail.split("\n")[1:] if line.strip() and not line.startswith("hint:")]
            if lines:
                return ": " + re.sub("^(error|lookalike [a-z]+): ", "", lines[-1])
        return ""


def rotate(path: Path, limit: int = LOG_BYTES) -> None:
    """Moves the text of an overgrown log to `<name>.1`, in place: the service that appends to it keeps it open."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > limit:
            path.with_name(path.name + ".1").write_bytes(path.read_bytes())
            os.truncate(path, 0)


def _cause(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
