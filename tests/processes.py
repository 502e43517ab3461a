"""What tests share that start processes: a port to listen on, and waiting for what they do."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping

import requests


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
