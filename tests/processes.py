"""What tests share that start processes: a port to listen on, and waiting for what they do."""

import contextlib
import itertools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping

import requests

_FIRST_PORT, _PORTS_EACH, _PROCESSES = 20_000, 1_500, 8  # below those that a system gives to whoever asks for any
_numbers = itertools.count(os.getpid())


def free_port() -> int:
    """A port of this machine that nobody listens on now. Between this and its use nobody is given it: the system hands
    out higher ones, and other processes of the tests take others."""
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PROCESSES
    while True:
        port = _FIRST_PORT + process * _PORTS_EACH + next(_numbers) % _PORTS_EACH
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def listens(port: int) -> bool:
    """Whether somebody answers on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(claim: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Waits until something is so."""
    deadline = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@contextlib.contextmanager
def portal_process(settings: Mapping[str, str]) -> Iterator[str]:
    """A portal in a process of its own, with these variables besides what is inherited. Yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        command = [sys.executable, "-m", "web", "--fd", str(listener.fileno())]
        inherited = {name: value for name, value in os.environ.items() if name != "FORWARDED_ALLOW_IPS"}
        with subprocess.Popen(command, env=inherited | settings, pass_fds=[listener.fileno()]) as process:
            try:
                wait_for(lambda: process.poll() is not None or listens(port))
                assert requests.get(f"http://127.0.0.1:{port}/health/live", timeout=60).ok
                yield f"http://127.0.0.1:{port}"
            finally:
                process.terminate()
