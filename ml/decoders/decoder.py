"""One child that decodes, seen from the process that gives it work; and the nursery that it comes from."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from ml.decoders.nursery import ANSWER, AWAIT, COMMAND, FORK
from ml.decoders.wire import Wire, shared_memory
from ml.decoders.work import Prepared, Work
from ml.errors import LookalikeError
from ml.images import UnreadableImage

_STARTS_S = 60.0


class Gone(Exception):
    """A child ended before it answered. `status` is how: a negative number is that of the signal. None when nobody can
    tell, for the nursery ended, and with it all its children."""

    def __init__(self, status: int | None) -> None:
        super().__init__(status)
        self.status = status

    @property
    def may_be_chance(self) -> bool:
        """Whether another child may do the same work: somebody who ended this one may have meant another."""
        return self.status in (None, -signal.SIGKILL)


class Nursery:
    """Starts the process that children are forked from, and starts it again should it end. Safe to use from threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._is_closed = False

    @property
    def pid(self) -> int | None:
        """Its process, if it runs."""
        return self._process.pid if self._process else None

    def fork(self, channel: socket.socket, shared: int, niceness: int) -> tuple[int, socket.socket]:
        """A child that works for the other end of a socket, with shared memory.

        Returns:
            Its process id, and the channel to the process that is its parent: `wait` takes both.

        Raises:
            LookalikeError: it cannot be started now. That passes.
            OSError: the nursery is closed.
        """
        with self._lock:
            for is_last in (False, True):
                try:
                    return self._command(FORK, niceness, [channel.fileno(), shared])
                except (OSError, EOFError) as error:
                    if self._is_closed:
                        raise
                    if is_last:
                        raise LookalikeError(
                            f"the process that decodes images cannot be started: {error}",
                            hint="try again when this machine has less to do",
                            passes=True,
                        ) from error
        raise AssertionError

    def wait(self, pid: int, parent: socket.socket) -> int | None:
        """How a child ended; waits until it has. None when its parent ended: another process knows nothing of it."""
        with self._lock:
            if parent is not self._control:
                return None
            try:
                return self._command(AWAIT, pid, [])[0]
            except (OSError, EOFError):
                return None

    def close(self) -> None:
        """Ends all children."""
        with self._lock:
            self._is_closed = True
            self._end()

    def _command(self, kind: bytes, number: int, descriptors: list[int]) -> tuple[int, socket.socket]:
        """The answer, and the channel that it came over. Any error ends the process with all children: an answer that
        nobody waited for would be taken for that to the next command."""
        try:
            control = self._control or self._start()
            socket.send_fds(control, [COMMAND.pack(kind, number)], descriptors)
            return self._answer(control), control
        except BaseException:
            self._end()
            raise

    def _answer(self, control: socket.socket) -> int:
        answer = control.recv(ANSWER.size, socket.MSG_WAITALL)
        if len(answer) < ANSWER.size:
            raise EOFError("the nursery ended")
        return int(ANSWER.unpack(answer)[0])

    def _start(self) -> socket.socket:
        if self._is_closed:
            raise OSError("no more images are decoded")
        self._control, theirs = socket.socketpair()
        # In the folder that holds this package, which need not be installed; -c, for -m would load it a second time.
        code = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        code += "from ml.decoders.nursery import main; main()"
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                # One thread for each library: decoders are many already, and a process with threads must not fork.
                env=os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
                start_new_session=True,
            )
        self._control.settimeout(_STARTS_S)
        self._answer(self._control)
        return self._control

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = self._control = None


class Decoder:
    """A child: one piece of work at a time."""

    def __init__(self, nursery: Nursery, niceness: int) -> None:
        self._nursery = nursery
        ours, theirs = socket.socketpair()
        shared = shared_memory()
        self._wire = Wire(ours, os.dup(shared))
        with theirs:
            try:
                self.pid, self._parent = nursery.fork(theirs, shared, niceness)
            finally:
                os.close(shared)
        self._told: Work | None = None
        self._is_at_work = False
        self._is_spent = False  # of low priority, or ended, or about to

    @property
    def is_reusable(self) -> bool:
        """Whether it may be given work. Not while it is at work: it would be asked one thing and answer another."""
        return not (self._is_at_work or self._is_spent)

    def ask(self, data: bytes, work: Work, *, seconds: float, memory: int) -> None:
        """Gives it work. Raises Gone."""
        head: dict[str, Any] = {"seconds": seconds, "memory": memory}
        if work != self._told:
            head["work"] = work.to_json()
        self._told, self._is_at_work = work, True
        try:
            self._wire.channel.settimeout(None)
            self._wire.send(head, [data])
        except OSError as error:
            raise self._gone() from error

    def wait(self, timeout_s: float) -> Prepared | None:
        """What it made of the image; None when it still works on it.

        Raises:
            UnreadableImage: the image is refused.
            Gone: the child ended.
        """
        self._wire.channel.settimeout(timeout_s)
        try:
            message = self._wire.receive()
        except TimeoutError:
            return None
        if message is None:
            raise self._gone()
        head, parts = message
        self._is_at_work = False
        self._is_spent = self._is_spent or head["is_last"]
        if "message" in head:
            raise UnreadableImage(head["message"], hint=head["hint"])
        pixels, thumbnail = parts
        return Prepared(np.frombuffer(pixels, np.uint8).reshape(head["shape"]).copy(), bytes(thumbnail))

    def processor_s(self) -> float:
        """Processor time that it has taken so far; time that has passed where the system does not tell."""
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # it has ended, and whoever waits for it will hear of that
                return time.clock_gettime((~self.pid << 3) | 2)  # CPUCLOCK_SCHED of a process, as clock_getcpuclockid
        return time.monotonic()

    @property
    def is_asleep(self) -> bool:
        """Whether no thread of it wants the processor, or waits for a disk; False where the system does not tell."""
        states = []
        with contextlib.suppress(OSError):  # a thread may end meanwhile
            for thread in Path(f"/proc/{self.pid}/task").iterdir():
                states.append((thread / "stat").read_text().rpartition(")")[2].split()[0])
        return bool(states) and set(states) == {"S"}

    def lower_priority(self, niceness: int) -> None:
        """For good: only the system's administrator may raise it again."""
        self._is_spent = True
        threads = Path(f"/proc/{self.pid}/task")  # Linux knows priorities of threads, not of processes
        with contextlib.suppress(OSError):
            names = [each.name for each in threads.iterdir()] if threads.is_dir() else [str(self.pid)]
            for name in names:
                os.setpriority(os.PRIO_PROCESS, int(name), niceness)

    def kill(self) -> None:
        """Ends it, whatever it does."""
        self._is_spent = True
        if self._wire.channel.fileno() >= 0:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self._gone()

    def _gone(self) -> Gone:
        self._is_spent = True
        self._wire.close()
        return Gone(self._nursery.wait(self.pid, self._parent))
