"""Clients that drip or sit there take no threads, and are sent away in time; the others notice nothing."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import requests

from tests.processes import free_port

PROGRAM = (
    "import os, socket, sys; from web import create_app, server; server.HEAD_S, server.BODY_S = {head}, {body};"
    "listener = socket.create_server(('127.0.0.1', {port}), backlog=512); server.serve(create_app(), listener)"
)
TOKEN = "a-secret-that-a-machine-made-7f3d"


@contextlib.contextmanager
def portal(tmp_path, head=10.0, body=20.0) -> Iterator[int]:
    """A real portal process, whose queue is away: it needs none for what is asked here. Yields its port."""
    port = free_port()
    settings = {"LOOKALIKE_HOME": str(tmp_path), "LOOKALIKE_REDIS_URL": "redis://127.0.0.1:1"}
    program = PROGRAM.format(head=head, body=body, port=port)
    environment = os.environ | settings | {"LOOKALIKE_API_TOKENS": f"anna:admin:{TOKEN}"}
    with subprocess.Popen([sys.executable, "-c", program], env=environment, stderr=subprocess.PIPE) as process:
        try:
            deadline = time.monotonic() + 60
            while True:
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                assert process.poll() is None, process.stderr.read().decode()
                assert time.monotonic() < deadline
            yield port
        finally:
            process.terminate()
            assert process.wait(20) == 0


def connect(port: int, sent: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), 10)
    connection.sendall(sent)
    return connection


def is_alive(port: int) -> float:
    began = time.monotonic()
    assert requests.get(f"http://127.0.0.1:{port}/health/live", timeout=10).status_code == 200
    return time.monotonic() - began


def closed_within(connection: socket.socket, seconds: float) -> bool:
    connection.settimeout(seconds)
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


HEADER = b"POST /api/v1/search HTTP/1.1\r\nHost: localhost\r\n"
BODY = HEADER + b"Content-Type: application/json\r\nContent-Length: 50000\r\n\r\n"


def test_health_answers_while_400_others_drip_and_sit_there(tmp_path):
    # None is sent away meanwhile, however long this takes.
    with portal(tmp_path, head=120.0, body=120.0) as port, contextlib.ExitStack() as held:
        kinds = [b"", HEADER, BODY, b"G"]
        others = [held.enter_context(connect(port, kinds[n % 4])) for n in range(400)]
        slowest = 0.0
        for _ in range(5):
            for other in others[1::4]:
                other.sendall(b"X")
            slowest = max(slowest, is_alive(port))
        assert slowest < 5.0  # on any machine; were their threads taken, it would be head, 120 s


@pytest.mark.parametrize("sent", [b"", b"G", HEADER, BODY], ids=["idle", "first byte", "head", "body"])
def test_who_is_too_slow_is_sent_away(tmp_path, sent):
    with portal(tmp_path, head=1.0, body=1.0) as port, connect(port, sent) as slow:
        assert closed_within(slow, 10)
        is_alive(port)


def test_a_body_over_the_limit_is_answered_before_it_is_sent(tmp_path):
    with portal(tmp_path) as port:
        head = HEADER + b"Content-Type: application/json\r\nContent-Length: 200000000\r\n"
        head += f"Authorization: Bearer {TOKEN}\r\n\r\n".encode()
        with connect(port, head + b"{") as connection:
            connection.settimeout(10)
            assert connection.recv(4096).startswith(b"HTTP/1.1 413")
            assert closed_within(connection, 10)


def test_strangers_send_no_photos(tmp_path):
    with portal(tmp_path) as port:
        head = b"POST /api/v1/images HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        with connect(port, head + b"Content-Length: 30000000\r\n\r\n--x") as connection:
            connection.settimeout(10)
            assert connection.recv(4096).startswith(b"HTTP/1.1 401")
            assert closed_within(connection, 10)


def test_what_is_being_sent_after_a_refusal_is_no_request_of_its_own(tmp_path):
    with portal(tmp_path) as port:
        head = HEADER + b"Content-Type: application/json\r\nContent-Length: 200000\r\n\r\n"
        with connect(port, head + b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n") as connection:
            connection.settimeout(10)
            answers = b""
            with contextlib.suppress(OSError):
                while piece := connection.recv(4096):
                    answers += piece
        assert answers.count(b"HTTP/1.1 ") == 1


def test_chunked_bodies_have_the_limit_too(tmp_path):
    with portal(tmp_path) as port:
        head = HEADER + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
        head += f"Authorization: Bearer {TOKEN}\r\n\r\n".encode()
        with connect(port, head) as connection:
            chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
            with contextlib.suppress(OSError):
                for _ in range(64):
                    connection.sendall(chunk)
            connection.settimeout(10)
            answer = b""
            with contextlib.suppress(OSError):
                answer = connection.recv(4096)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 413")
        is_alive(port)


def test_what_the_server_refuses_itself_is_told_as_every_other_error(tmp_path):
    with portal(tmp_path) as port:
        for sent, status in (
            (b"GET /?%s HTTP/1.1" % (b"x" * 66_000), 431),
            (b"POST / HTTP/1.1\r\nContent-Length: x", 400),
        ):
            answer = b""
            with connect(port, sent + b"\r\nHost: localhost\r\n\r\n") as connection:
                connection.settimeout(10)
                with contextlib.suppress(ConnectionResetError):
                    while piece := connection.recv(4096):
                        answer += piece
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith((b"HTTP/1.1 %d" % status, b"HTTP/1.0 %d" % status)), (sent[:20], head)
            assert b"content-type: application/problem+json" in head.lower()
            assert json.loads(body)["status"] == status
