"""A portal that is told to stop answers whoever was there before, and refuses whoever comes after."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests

from tests.processes import free_port, listens, wait_for
from web.server import Dispatcher

REQUEST = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
PROGRAM = """
import socket, sys
from web import create_app
from web.server import serve
serve(create_app(), socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=512))
"""


@pytest.fixture
def portal(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A real portal process and its port; nothing here needs its queue."""
    port = free_port()
    environment = os.environ | {"LOOKALIKE_HOME": str(tmp_path), "LOOKALIKE_REDIS_URL": "redis://127.0.0.1:1"}
    with subprocess.Popen([sys.executable, "-c", PROGRAM, str(port)], env=environment) as process:
        try:
            wait_for(lambda: process.poll() is not None or listens(port))
            assert requests.get(f"http://127.0.0.1:{port}/health/live", timeout=60).ok
            yield process, port
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


def test_connections_that_wait_when_it_is_told_to_stop_are_answered(
    portal: tuple[subprocess.Popen[bytes], int],
) -> None:
    process, port = portal
    process.send_signal(signal.SIGSTOP)  # as one that has no processor just then
    with contextlib.ExitStack() as held:
        visitors = [held.enter_context(socket.create_connection(("127.0.0.1", port), 30)) for _ in range(20)]
        for visitor in visitors[1:]:
            visitor.sendall(REQUEST)
        visitors[0].sendall(REQUEST[:20])
        process.terminate()
        process.send_signal(signal.SIGCONT)
        wait_for(lambda: not listens(port))
        visitors[0].sendall(REQUEST[20:])
        answers = [visitor.recv(4096)[:15] for visitor in visitors]
    assert answers == [b"HTTP/1.1 200 OK"] * len(visitors)
    assert process.wait(30) == 0


def test_a_question_of_health_overtakes_those_that_wait_one_at_a_time() -> None:
    dispatcher = Dispatcher()
    for path in ("/", "/gallery", "/health/live", "/api/v1/search", "/health/ready"):
        dispatcher.add_task(SimpleNamespace(requests=[SimpleNamespace(path=path)]))
    waiting = [channel.requests[0].path for channel in dispatcher.queue]
    assert waiting == ["/health/live", "/", "/gallery", "/api/v1/search", "/health/ready"]
