"""A stand-in for a Qdrant server, as a process that can be stopped and killed."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.processes import free_port, listens, wait_for


def free_ports() -> int:
    """A free port, and so is the one behind it."""
    port = free_port()
    while (behind := free_port()) != port + 1:
        port = behind
    return port


@contextlib.contextmanager
def server_process(folder: Path, port: int) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """The stand-in, once it answers over both interfaces."""
    command = [sys.executable, "-m", "tests.qdrant_over_grpc", "127.0.0.1", str(port), str(folder)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[3]) as server:
        try:
            for each in (port, port + 1):
                wait_for(lambda each=each: listens(each))
            yield server, f"http://127.0.0.1:{port}"
        finally:
            server.kill()  # also one that a test that failed has stopped: nothing would end the wait for it
