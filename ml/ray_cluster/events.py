"""Progress events from training workers to the driver.

The actor holds plain values only and its module imports no torch, so that its process starts in a moment.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import ray

_POLL_S = 0.3

Progress = Callable[[str, int, int], None]


class EventChannel:
    """The actor: workers send events, the driver drains them."""

    def __init__(self) -> None:
        self._events: list[tuple[str, Any]] = []
        self._failure: tuple[str, str] | None = None

    def send(self, kind: str, event: Any) -> None:
        self._events.append((kind, event))

    def drain(self) -> list[tuple[str, Any]]:
        events, self._events = self._events, []
        return events

    def fail(self, message: str, hint: str) -> None:
        self._failure = self._failure or (message, hint)

    def failure(self) -> tuple[str, str] | None:
        return self._failure


def progress_reporter(channel: Any) -> Progress:
    last = 0.0

    def report(what: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > _POLL_S or done == total:
            last = time.monotonic()
            channel.send.remote("progress", (what, done, total))

    return report


@contextlib.contextmanager
def forward_events(
    channel: Any,
    on_progress: Progress | None,
    on_epoch: Callable[[dict[str, Any]], None] | None,
    on_workers: Callable[[list[int]], None] | None,
) -> Iterator[None]:
    """Passes the workers' events on to callbacks, from a thread, while the block runs."""
    ended = threading.Event()
    pids: dict[int, int] = {}

    def pass_on() -> None:
        for kind, event in ray.get(channel.drain.remote()):
            if kind == "progress" and on_progress:
                on_progress(*event)
            elif kind == "epoch" and on_epoch:
                on_epoch(event)
            elif kind == "worker":
                pids[event[0]] = event[1]
                if on_workers:
                    on_workers(list(pids.values()))

    def listen() -> None:
        while not ended.wait(_POLL_S):
            pass_on()

    thread = threading.Thread(target=listen, name="training-events", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        pass_on()
