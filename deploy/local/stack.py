"""All services on one machine: embedded Valkey, workers, portal, as children of one supervising process.

`with Stack(settings) as stack:` is a running system; `stack.settings` connect a client to it. `deploy.local.connection`
decides for a command whether to start one or to use one that runs; `deploy.local.supervisor` keeps the services alive.
"""

import contextlib
import dataclasses
import errno
import http.client
import logging
import os
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from types import TracebackType
from typing import Self

from deploy.local import extras, locks, valkey
from deploy.local.home import prepare
from deploy.local.supervisor import Reaper, Service, ServiceFailed, ServiceRunner
from deploy.local.watchdog import Watchdog
from ml.errors import LookalikeError
from workers.client import Client
from workers.settings import Settings
from workers.supervision import SupervisionFile

log = logging.getLogger(__name__)

STOP_S = 10.0  # everything has ended this long after it was asked to
LOOPBACK = ("localhost", "127.0.0.1", "::1")
WORKER_START_S = 180.0  # the first start on a machine makes the default model and compiles it


class PortTaken(LookalikeError):
    """Something else listens where the portal should."""


class Stack:
    """Runs the services from `with` to the end of the block.

    Args:
        settings: of this process. Without a `redis_url` a Valkey server is started; without a `qdrant_url` the one
            worker holds the store.
        portal: the portal's host and port; None runs no portal. Port 0 is any free one.
        workers: how many worker processes; only one can hold an embedded store.
        say: gets one line for each step of the start.
        warn: gets a line, from another thread, when a service dies or is back.

    Raises:
        AlreadyRunning: on this home there is a living system.
        PortTaken: the portal's port is in use.
        MissingExtra: packages that the services need are not installed.
        ServiceFailed: a service does not start.
    """

    def __init__(
        self,
        settings: Settings,
        portal: tuple[str, int] | None = None,
        workers: int = 1,
        *,
        say: Callable[[str], None] = log.info,
        warn: Callable[[str], None] = log.warning,
    ) -> None:
        self.settings = settings
        self.address: str | None = None
        self._portal = portal
        self._workers = workers
        self._say = say
        self._warn = warn
        self._reporting = threading.Lock()
        self._runners: list[ServiceRunner] = []
        self._undo = contextlib.ExitStack()
        if workers > 1 and settings.is_embedded_qdrant:
            raise LookalikeError(
                "the embedded store belongs to one worker", hint="set LOOKALIKE_QDRANT_URL, or leave out --workers"
            )

    def __enter__(self) -> Self:
        home = self.settings.home
        require_packages(self.settings)
        prepare(home)
        with contextlib.ExitStack() as undo:
            lock = locks.HomeLock(home)
            undo.callback(lock.release)
            self._supervision = SupervisionFile(home, _own_command())
            undo.callback(self._supervision.close)
            self._reaper = Reaper([lock.stack.descriptor])
            undo.callback(self._reaper.close)
            undo.callback(self.stop)
            undo.callback(locks.Description.remove, home)
            listener = self._listen()
            if listener:
                undo.callback(listener.close)
            self._describe(is_ready=False)
            self._start(listener)
            self._describe(is_ready=True)
            if self._workers == 1:
                undo.callback(Watchdog(self._client, self.runner("worker")).close)
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    def stop(self) -> None:
        """Ends every service within ten seconds: first those that use the queue, then the queue."""
        deadline = time.monotonic() + STOP_S - 3.0
        queue = [runner for runner in self._runners if runner.service.name == "queue"]
        users = [runner for runner in self._runners if runner not in queue]
        for runner in users:
            runner.ask_to_stop()
        for runner in users:
            runner.stop(deadline - time.monotonic())
        for runner in queue:
            runner.stop(2.0)
        self._runners.clear()

    def runner(self, name: str) -> ServiceRunner:
        """The runner of the service `queue`, `worker`, `worker 2`, `portal` or `watcher`."""
        return next(runner for runner in self._runners if runner.service.name == name)

    def wait(self) -> None:
        """Returns on Ctrl-C."""
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()

    @property
    def reaper_pid(self) -> int:
        return self._reaper.pid

    def _start(self, listener: socket.socket | None) -> None:
        started = time.monotonic()
        if self.settings.is_embedded_redis:
            self._say("starting the queue")
            self._start_queue()
        else:
            self._say("using the queue of LOOKALIKE_REDIS_URL")
        self._client = Client(self.settings)
        with contextlib.suppress(LookalikeError):  # a storage that is away: the worker says so better
            for damaged in self._client.registry.damaged():
                self._warn(f"{damaged.message}: the worker restores what it can")
        self._say("starting " + ("the worker" if self._workers == 1 else f"{self._workers} workers"))
        waiting = [self._keep(self._worker(number)) for number in range(1, self._workers + 1)]
        if listener:
            self._say("starting the portal")
            waiting.append(self._keep(self._portal_service(listener)))
        if self.settings.watch and listener:  # a command's own system for a while follows no folder
            self._say(f"watching {', '.join(self.settings.watch)}")
            waiting.append(self._keep(self._watcher()))
        for runner in waiting:
            runner.wait_until_ready()
        self._say(f"ready after {time.monotonic() - started:.1f} s")

    def _start_queue(self) -> None:
        """On another port, should a program take the chosen one before the server does."""
        for is_last in (False, False, True):
            service, redis_url = valkey.service(self.settings.home, service_environment(self.settings))
            runner = self._keep(service)
            try:
                runner.wait_until_ready()
            except ServiceFailed as failure:
                if is_last or not valkey.is_port_taken(failure):
                    raise
                self._runners.remove(runner)
            else:
                self.settings = dataclasses.replace(self.settings, redis_url=redis_url)
                return

    def _keep(self, service: Service) -> ServiceRunner:
        runner = ServiceRunner(service, self._reaper, self._report)
        self._runners.append(runner)
        self._report("")
        runner.start()
        return runner

    def _report(self, line: str) -> None:
        """Says how the services are, to `lookalike status` and on the terminal. That nobody may hear it is no error."""
        with self._reporting:
            self._supervision.write([runner.status for runner in self._runners])
            if line:
                with contextlib.suppress(OSError, ValueError):  # a terminal that is gone, a file on a full disk
                    self._warn(line)

    def _describe(self, *, is_ready: bool) -> None:
        settings = self.settings
        locks.Description(
            pid=os.getpid(),
            redis_url=settings.redis_url,
            storage=settings.storage_url,
            portal=self.address,
            started_at=time.time(),
            is_ready=is_ready,
        ).write(settings.home)

    def _listen(self) -> socket.socket | None:
        """Opens the portal's socket here, so that it survives the portal's restarts and refuses nobody meanwhile."""
        if self._portal is None:
            return None
        host, port = self._portal
        listener = listen(host, port)
        display_host = f"[{host}]" if ":" in host else host
        self.address = f"http://{display_host}:{listener.getsockname()[1]}"
        return listener

    def _worker(self, number: int) -> Service:
        home = self.settings.home
        name = "worker" if number == 1 else f"worker {number}"
        return Service(
            name=name,
            command=worker_command(),
            environment=service_environment(self.settings),
            is_ready=lambda pid: self._is_worker_alive(pid),
            log_path=home / "logs" / f"{name.replace(' ', '-')}.log",
            working_directory=home / "run",
            start_timeout_s=WORKER_START_S,
        )

    def _is_worker_alive(self, pid: int) -> bool:
        here = socket.gethostname()
        return any(worker.pid == pid and worker.host == here for worker in self._client.status().workers)

    def _watcher(self) -> Service:
        return Service(
            name="watcher",
            command=[sys.executable, "-m", "deploy.cli.watching"],
            environment=service_environment(self.settings),
            is_ready=lambda _pid: True,  # folders that are away are waited for
            log_path=self.settings.home / "logs" / "watcher.log",
            working_directory=self.settings.home / "run",
        )

    def _portal_service(self, listener: socket.socket) -> Service:
        host, port = listener.getsockname()[:2]
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
        health = f"http://{f'[{host}]' if ':' in host else host}:{port}/api/v1/health"
        return Service(
            name="portal",
            command=portal_command(listener.fileno()),
            environment=service_environment(self.settings),
            is_ready=lambda _pid: _answers(health),
            log_path=self.settings.home / "logs" / "portal.log",
            working_directory=self.settings.home / "run",
            inherited=(listener.fileno(),),
        )


def _own_command() -> str:
    """What a person typed to start this process, as far as it helps to recognize it."""
    return " ".join(["lookalike", *(argument for argument in sys.argv[1:2] if argument.isalpha())])


def require_packages(settings: Settings) -> None:
    """Checks that what a system with these settings runs on is installed.

    Raises:
        MissingExtra: it is not.
    """
    is_embedded = settings.is_embedded_redis or settings.is_embedded_qdrant
    extras.require("a system on this machine", *(["embedded"] if is_embedded else []), "worker")


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        PortTaken: another program listens there.
        LookalikeError: the host is no address of this machine, or the port is not ours to take.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(512)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(
                f"port {port} of {host} is taken by another program", hint="choose another --port"
            ) from error
        raise LookalikeError(
            f"cannot listen on {host} port {port}: {error.strerror}", hint="check --host and --port"
        ) from error
    return listener


def worker_command() -> list[str]:
    """Starts a worker in this Python."""
    return [sys.executable, "-m", "workers"]


def portal_command(descriptor: int) -> list[str]:
    """Starts the portal in this Python, on a listening socket. One process: it waits for the queue most of its time."""
    return [sys.executable, "-m", "web", "--fd", str(descriptor)]


def service_environment(settings: Settings) -> dict[str, str]:
    """Of a child: ours, with every setting spelled out.

    The services run in a folder of their own and with a safe path, so that a folder `web` where the user happens to
    stand is never mistaken for ours. A proxy is for what is elsewhere: servers on this machine are reached directly.
    """
    direct = ",".join(filter(None, [os.environ.get("no_proxy") or os.environ.get("NO_PROXY"), *LOOPBACK]))
    environment = {**os.environ, **settings.environment(), "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
    environment.update(no_proxy=direct, NO_PROXY=direct)
    environment.pop("LOOKALIKE_CONFIG", None)
    return environment


# Whatever proxy the environment names: it leads away from this machine.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _answers(health: str) -> bool:
    try:
        with _direct.open(health, timeout=1.0):
            return True
    except urllib.error.HTTPError as error:
        return error.code != 500  # it wants a token, or finds the workers still starting: it answers
    except (OSError, http.client.HTTPException):
        return False
