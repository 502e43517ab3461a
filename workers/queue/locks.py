"""Locks that hold between processes on different machines, in Redis: for storage that has none of its own.

lookalike:lock:<key>    whoever holds it; gone by itself when its holder died
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import redis
from redis.exceptions import LockNotOwnedError

from workers.errors import Unavailable

_HELD_S = 60.0  # a holder reads and writes a few small files
_AWAITED_S = 20.0
_POLLED_S = 0.02
_KEPT_S = 60.0  # without a sign of its holder


@contextlib.contextmanager
def taken(server: Any, key: str, kept_s: float = _KEPT_S) -> Iterator[Callable[[], bool]]:
    """Takes a lock unless somebody holds it, and keeps it however long the block takes.

    Args:
        server: the Redis that it is in.
        key: what it is called there.
        kept_s: how long it outlives a holder that died.

    Yields:
        Asks whether it is ours: somebody else may hold it, also because this process stood still for so long.
    """
    lock = server.lock(key, timeout=kept_s, blocking=False, thread_local=False)
    if not lock.acquire():
        yield lock.owned
        return
    ended = threading.Event()

    def keep() -> None:
        while not ended.wait(kept_s / 4):
            with contextlib.suppress(redis.RedisError):  # away for a moment, or it took longer than that
                lock.reacquire()

    keeper = threading.Thread(target=keep, name=f"lock {key}", daemon=True)
    keeper.start()
    try:
        yield lock.owned
    finally:
        ended.set()
        keeper.join()
        with contextlib.suppress(LockNotOwnedError):
            lock.release()


class SharedLocks:
    """Locks by key in one Redis. Safe to use from many threads and processes."""

    def __init__(self, server: Any, held_s: float = _HELD_S, awaited_s: float = _AWAITED_S) -> None:
        self._redis, self._held_s, self._awaited_s = server, held_s, awaited_s

    @contextlib.contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """While it is held, nobody else who asks for the lock of this key has it.

        Raises:
            Unavailable: Redis does not answer, somebody else holds it for long, or this holder took so long that it was
                given to another: what was done meanwhile may be lost and has to be done again.
        """
        lock = self._redis.lock(
            f"lookalike:lock:{key}", timeout=self._held_s, blocking_timeout=self._awaited_s, sleep=_POLLED_S
        )
        try:
            is_held = lock.acquire()
        except redis.RedisError as error:
            raise Unavailable("the queue does not answer", hint="see: lookalike status") from error
        if not is_held:
            raise Unavailable(f"{key} is being changed by another process", hint="try again in a minute")
        try:
            yield
        except BaseException:
            with contextlib.suppress(redis.RedisError):
                lock.release()
            raise
        try:
            lock.release()
        except redis.RedisError as error:
            raise Unavailable(f"changing {key} took too long to be sure of it", hint="try again") from error
