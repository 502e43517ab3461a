"""A worker that starts while Redis, Qdrant or the storage is away stays, says what it waits for, and begins at once.

An orchestrator that sees it end starts it again after pauses that grow: up to a minute after what was away is back.
"""

import contextlib
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import redis

from ml.errors import LookalikeError
from workers.errors import Unavailable
from workers.queue import liveness
from workers.queue.app import connect_redis
from workers.settings import BadSettings, Settings

logger = logging.getLogger(__name__)

T = TypeVar("T")

_PAUSE_S = 0.5
_SAID_AGAIN_S = 30.0


class Waiting:
    """Waits for what a worker needs before it can start.

    Args:
        settings: where those are.
        worker: this process's id among the workers: while Redis answers, the system's status shows what it waits for.
    """

    def __init__(self, settings: Settings, worker: str) -> None:
        self._settings, self._worker = settings, worker
        # It gives up after a second, so that its return is noticed within two.
        self._redis = connect_redis(settings, is_interactive=True)

    def until_queue_answers(self) -> None:
        """Returns when Redis answers. Raises BadSettings when it refuses our password."""

        def ping() -> Any:
            try:
                return self._redis.ping()
            except redis.AuthenticationError as error:
                raise BadSettings(f"the queue refuses us: {error}", hint="check LOOKALIKE_REDIS_URL") from error
            except redis.RedisError as error:
                raise Unavailable(f"the queue does not answer: {error}") from error

        self.until(ping)

    def until(self, attempt: Callable[[], T]) -> T:
        """What the attempt returns, tried again while it raises a LookalikeError that passes; any other is raised."""
        said, said_at, pause = "", 0.0, threading.Event()
        with contextlib.ExitStack() as hold:
            while True:
                try:
                    result = attempt()
                except LookalikeError as error:
                    if not error.passes:
                        raise
                    if not said:
                        hold.enter_context(_ending_quietly())
                    if error.message != said or time.monotonic() - said_at > _SAID_AGAIN_S:
                        said, said_at = error.message, time.monotonic()
                        logger.warning("waiting: %s", said)
                    with contextlib.suppress(redis.RedisError):
                        liveness.record_waiting(self._redis, self._worker, said)
                    pause.wait(_PAUSE_S)
                else:
                    if said:
                        logger.info("going on: what was away is back")
                        with contextlib.suppress(redis.RedisError):
                            liveness.forget_waiting(self._redis, self._worker)
                    return result


@contextlib.contextmanager
def _ending_quietly() -> Iterator[None]:
    """Makes SIGTERM end the process with status 0: nothing was begun."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
