"""Keeps child processes alive, and makes sure that none outlives us.

A `Service` is a program with a readiness check. A `ServiceRunner` runs one service: starts it, waits until it is
ready, restarts it when it dies, for ever, with exponential back-off up to half a minute. It goes on when the disk is
full or no process is to be had, so that the system heals by itself once that has passed. A `Reaper` is our handle on
`deploy/local/reaper.py`, the small process that ends the services when we can no longer do so ourselves.
`deploy.local.stack` says which services there are.
"""

import contextlib
import dataclasses
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.local.service_log import ServiceLog
from ml.errors import LookalikeError
from workers.messages import ServiceStatus
from workers.supervision import shortened

log = logging.getLogger(__name__)

BACKOFF_S = 0.1  # before the first restart; doubled for each further death
LONGEST_BACKOFF_S = 30.0  # with a worker's start it is back a minute after what kept it down has passed
STEADY_S = 60.0  # a service that ran this long starts with the first pause again
_CLEAN = [sys.executable, "-I", "-S"]  # a Python with nothing but its standard library


class ServiceFailed(LookalikeError):
    """A service of the system does not start."""


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
        self._process, self.pipe = self._started()

    def _started(self) -> tuple[subprocess.Popen[bytes], int]:
        """Another process, which knows the groups, and our end of the pipe to it."""
        reading, writing = os.pipe()
        try:
            process = subprocess.Popen(
                [*_CLEAN, str(Path(__file__).with_name("reaper.py"))],
                stdin=reading,
                pass_fds=self._locks,
                start_new_session=True,
                cwd="/",
            )
            os.write(writing, "".join(f"+{group}\n" for group in sorted(self._groups)).encode())
        except BaseException:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        return process, writing

    def check(self) -> None:
        """Starts another reaper when this one has died; where that is not possible now, the next call tries again."""
        with self._guard:
            if self._process.poll() is None:
                return
            try:
                process, pipe = self._started()
            except OSError as error:
                log.debug("no other reaper can be started: %s", error)
                return
            log.warning("the reaper died with status %s; another one was started", self._process.returncode)
            os.close(self.pipe)
            self._process, self.pipe = process, pipe

    def remember(self, group: int) -> None:
        """Notes a group that has registered with the reaper."""
        with self._guard:
            self._groups.add(group)

    def forget(self, group: int) -> None:
        """The group has ended: its number may come to belong to somebody else."""
        with self._guard:
            self._groups.discard(group)
            with contextlib.suppress(OSError):  # it died, and `check` starts another; or everything ends
                os.write(self.pipe, f"-{group}\n".encode())

    @property
    def pid(self) -> int:
        return self._process.pid

    def close(self) -> None:
        """Lets it end, and with it whatever services are left."""
        with self._guard:
            os.close(self.pipe)
            self.pipe = -1  # a late `forget` must not write to another file under this number
        self._process.wait()


class ServiceRunner:
    """Runs one service until told to stop.

    The thread that starts a process must live as long as the process: Linux's parent-death signal is the thread's.

    Args:
        on_change: called from the runner's thread whenever `status` has changed, with a sentence for people, which is
            empty for what goes as it should.
    """

    def __init__(self, service: Service, reaper: Reaper, on_change: Callable[[str], None] = lambda _line: None) -> None:
        self.service = service
        self._log = ServiceLog(service.log_path)
        self.pid: int | None = None
        self.status = ServiceStatus(service.name, "starting")
        self._reaper = reaper
        self._on_change = on_change
        self._ready = threading.Event()
        self._ended = threading.Event()
        self._stopping = threading.Event()
        self._failure: ServiceFailed | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name=f"runner of {service.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wait_until_ready(self) -> None:
        """Returns when the service has given its sign for the first time.

        Raises:
            ServiceFailed: it died before that, or took too long.
        """
        deadline = time.monotonic() + self.service.start_timeout_s
        while not self._ready.wait(0.02):
            if self._failure:
                raise self._failure
            if time.monotonic() > deadline:
                raise self._failed(f"is not ready after {self.service.start_timeout_s:.0f} s{self._log.last_line()}")

    @property
    def is_ready(self) -> bool:
        """Whether the process that runs now has given its sign."""
        return self._ready.is_set()

    @property
    def restarts(self) -> int:
        return self.status.restarts

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
        finally:
            self._ended.set()

    def _keep(self) -> None:
        quick_deaths = 0
        while not self._stopping.is_set():
            started = time.monotonic()
            reason = self._run_once()
            if self._stopping.is_set():
                return
            if not self.restarts and not self._ready.is_set():
                self._failure = self._failed(f"did not start{self._log.last_line() or f' ({reason})'}")
                return
            quick_deaths = quick_deaths + 1 if time.monotonic() - started < STEADY_S else 1
            pause_s = min(BACKOFF_S * 2 ** (quick_deaths - 1), LONGEST_BACKOFF_S)
            self._ready.clear()
            reason = shortened(reason + self._log.last_line())
            when = f"in {pause_s:.0f} s" if pause_s >= 1 else "now"
            self._change(
                f"the {self.service.name} died ({reason}); restarting it {when}",
                state="ended",
                restarts=self.restarts + 1,
                reason=reason,
                retry_at=time.time() + pause_s,
            )
            if self._stopping.wait(pause_s):
                return
            self._change(state="starting", retry_at=None)

    def _run_once(self) -> str:
        """Starts the process and stays with it to its end.

        Returns:
            Why it ended, or why it could not be started: nothing that happens here ends the keeping.
        """
        try:
            process = self._start()
        except OSError as error:
            return f"cannot be started: {error.strerror or error}"
        too_late = ""
        deadline = time.monotonic() + self.service.start_timeout_s
        while process.poll() is None:
            if not self._ready.is_set() and self._is_service_ready(process.pid):
                self._ready.set()
                self._change(f"the {self.service.name} runs again" if self.restarts else "", state="running")
            if not self._ready.is_set() and self.restarts and time.monotonic() > deadline:
                too_late = f"not ready after {self.service.start_timeout_s:.0f} s"
                _kill_group(process.pid)
            self._reaper.check()
            self._log.rotate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1.0 if self._ready.is_set() else 0.05)
        # What the service itself started ends with it: a portal's processes would keep answering, a trainer's go on.
        _kill_group(process.pid)
        self._reaper.forget(process.pid)
        self.pid = None
        return too_late or _cause(process.returncode)

    def _is_service_ready(self, pid: int) -> bool:
        try:
            return self.service.is_ready(pid)
        except Exception:  # whatever it is: this thread alone would start the service again
            log.debug("the %s cannot be asked whether it is ready", self.service.name, exc_info=True)
            return False

    def _start(self) -> subprocess.Popen[bytes]:
        self._reaper.check()
        exec_wrapper = str(Path(__file__).with_name("exec_wrapper.py"))
        with self._log.opened() as output:
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
        return process

    def _change(self, line: str = "", **changes: Any) -> None:
        self.status = dataclasses.replace(self.status, **changes)
        self._on_change(line)

    def _failed(self, what: str) -> ServiceFailed:
        _, hint = self._log.last_words()
        return ServiceFailed(
            f"the {self.service.name} {what}",
            hint=f"{hint} (log: {self._log.path})" if hint else f"see {self._log.path}",
        )


def _cause(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
