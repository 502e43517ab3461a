"""The portal's web server: waitress, whose one loop reads requests and waits for them, so that threads only answer.

A client that drips, or sits there and says nothing, costs a place among the connections and no thread. What waitress
has no limit for is added here: how long a request's head may take, how slowly its body may come, and, before the body
is read, whether its route takes so much of it.
"""

import contextlib
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any, ClassVar

from flask import Flask, request
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, ThreadedTaskDispatcher

from web.access.principals import Authenticator
from web.bodies import SMALL, limit_of
from web.problems import problem
from web.proxies import TrustedProxies

THREADS = 32  # they wait for the queue most of the time
CONNECTIONS = 1_000
HEAD_BYTES = 64 * 1024  # the longest folder and label that the API takes, in an address
READ_BYTES = 64 * 1024  # at once: between two reads waitress looks at each of its connections
HEAD_S = 10.0  # from the first moment of a connection, or the first byte of a later request
BODY_S = 20.0  # a body that takes longer must come at this rate at least
BODY_BYTES_A_SECOND = 16_384
IDLE_S = 60  # between two requests
DRAIN_S = 4.0  # for answers under way when the server is told to stop
FRESH_S = 0.5  # in which a new connection says what it wants


class _Parser(HTTPRequestParser):  # type: ignore[misc] # waitress has no types
    """Stops reading where the route's limit is; the application then answers 413, or 401, without the body."""

    body_limit: ClassVar[Callable[[HTTPRequestParser], int]]
    _limit: int | None = None

    def received(self, data: bytes) -> int:
        taken: int = super().received(data)
        if self.error or not self.headers_finished:
            return taken
        size = max(self.content_length, self.body_bytes_received)
        if size <= SMALL:
            return taken
        if self._limit is None:
            self._limit = type(self).body_limit(self)
        if size <= self._limit:
            return taken
        self.headers["CONTENT_LENGTH"] = str(size)
        self.headers["CONNECTION"] = "close"
        self.completed = True
        return len(data)  # what follows is no request of its own


class _Refusal(ErrorTask):  # type: ignore[misc]
    """What is no request that the application could see, told as the application tells its errors."""

    def execute(self) -> None:
        error = self.request.error
        hint = f"address and headers may have {HEAD_BYTES // 1024} kB" if error.code == 431 else "send HTTP/1.1"
        told = problem(error.code, error.body, title=error.reason, hint=hint)
        self.status = told.status
        self.response_headers.extend(told.headers.items())
        self.set_close_on_finish()
        self.content_length = told.content_length
        self.write(told.get_data())


class _Channel(HTTPChannel):  # type: ignore[misc]
    """A connection that knows since when its request is coming in."""

    error_task_class = _Refusal
    began_at = 0.0
    has_asked = False

    def received(self, data: bytes) -> Any:
        if self.request is None:
            self.began_at = time.time()
        before = len(self.requests)
        answer = super().received(data)
        if len(self.requests) > before:
            self.has_asked = True
        return answer

    def is_too_slow(self, now: float) -> bool:
        """Whether the request that is coming in has taken longer than it may."""
        if self.requests or self.total_outbufs_len:
            return False
        if self.request is None:
            return not self.has_asked and now - self.creation_time > HEAD_S
        took_s = now - self.began_at
        if not self.request.headers_finished:
            return took_s > HEAD_S
        return took_s > BODY_S and self.request.body_bytes_received < BODY_BYTES_A_SECOND * took_s

    def is_under_way(self, now: float) -> bool:
        """Whether somebody waits for an answer: to what was asked, is being asked, or is about to be."""
        if self.requests or self.total_outbufs_len or self.request is not None:
            return True
        return not self.has_asked and now - self.creation_time < FRESH_S


class _Server(TcpWSGIServer):  # type: ignore[misc]
    channel_class: type[HTTPChannel] = _Channel

    def getsockname(self) -> tuple[str, str]:
        host, port = self.socket.getsockname()[:2]
        return str(host), str(port)  # waitress would ask for the name of the address

    def maintenance(self, now: float) -> None:
        super().maintenance(now)
        for channel in list(self.active_channels.values()):
            if channel.is_too_slow(now):
                channel.will_close = True

    def accept_the_last(self) -> None:
        """Takes the connections that wait, and refuses those to come, so that a proxy turns to another portal.

        One that waited when the process ended would be reset: its request, nobody knows whether it was answered.
        """
        for _ in range(CONNECTIONS):
            before = len(self.active_channels)
            self.handle_accept()
            if len(self.active_channels) == before:
                break
        wasyncore.dispatcher.close(self)  # the listening socket alone


class Dispatcher(ThreadedTaskDispatcher):  # type: ignore[misc]
    """Lets questions of health overtake: under load they would wait as long as everybody else, and call that death.

    One of them at a time, so that many leave the others their turn.
    """

    def add_task(self, task: HTTPChannel) -> None:
        with self.lock:
            if _is_probe(task) and not (self.queue and _is_probe(self.queue[0])):
                self.queue.appendleft(task)
            else:
                self.queue.append(task)
            self.queue_cv.notify()


def _is_probe(channel: HTTPChannel) -> bool:
    path: str = getattr(channel.requests[0], "path", "") if channel.requests else ""
    return path.startswith("/health/")


def serve(app: Flask, listener: socket.socket) -> None:
    """Answers on the listening socket until SIGTERM or SIGINT, then finishes what is being answered."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * CONNECTIONS + 256  # a body may lie in a file
    if soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(
                resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
            )
    settings = Adjustments(
        sockets=[listener],
        threads=THREADS,
        connection_limit=CONNECTIONS,
        channel_timeout=IDLE_S,
        cleanup_interval=1,
        recv_bytes=READ_BYTES,
        max_request_header_size=HEAD_BYTES,
        max_request_body_size=2**40,  # each route has its own
        asyncore_use_poll=True,
        clear_untrusted_proxy_headers=False,  # ours to judge: it trusts one address, no networks, and would clear all
        ident=None,
    )
    dispatcher = Dispatcher()
    dispatcher.set_thread_count(THREADS)
    parser = type("Parser", (_Parser,), {"body_limit": staticmethod(lambda head: body_limit(app, head))})
    server = _Server(
        TrustedProxies(app.wsgi_app, os.environ.get("FORWARDED_ALLOW_IPS", "")),
        sockinfo=(listener.family, listener.type, listener.proto, listener.getsockname()),
        bind_socket=False,
        _sock=listener,
        adj=settings,
        dispatcher=dispatcher,
    )
    server.channel_class = type("Channel", (_Channel,), {"parser_class": parser})
    stopping = threading.Event()

    def stop(*_: object) -> None:
        stopping.set()
        server.pull_trigger()  # wakes the loop

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    while not stopping.is_set():
        wasyncore.loop(timeout=1, use_poll=True, map=server._map, count=1)
    server.accept_the_last()
    deadline = time.monotonic() + DRAIN_S
    while time.monotonic() < deadline and any(
        channel.is_under_way(time.time()) for channel in server.active_channels.values()
    ):
        wasyncore.loop(timeout=0.05, use_poll=True, map=server._map, count=1)
    dispatcher.shutdown(timeout=0)


def body_limit(app: Flask, head: HTTPRequestParser) -> int:
    """Bytes that the route of a request takes from whoever sends it: photos only from those who seem to be known."""
    environ: dict[str, Any] = {f"HTTP_{name}": value for name, value in head.headers.items()}
    environ |= {"REQUEST_METHOD": head.command, "PATH_INFO": head.path, "QUERY_STRING": head.query or ""}
    environ |= {"SERVER_NAME": "localhost", "SERVER_PORT": "80", "wsgi.url_scheme": "http", "wsgi.input": BytesIO()}
    environ["CONTENT_TYPE"] = head.headers.get("CONTENT_TYPE", "")
    authenticator: Authenticator = app.extensions["lookalike-authenticator"]
    with app.request_context(environ):
        limit = limit_of(app.view_functions.get(request.endpoint or ""), request.mimetype)
        return limit if limit <= SMALL or authenticator.may_know(request) else SMALL
