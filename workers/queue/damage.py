"""What was found damaged and is not whole again: one list in Redis for all processes, which `lookalike status` tells.

lookalike:damaged    key of the stored file -> what is wrong with it, in words
"""

import contextlib
import time
from collections.abc import Collection
from typing import Any

import redis

from ml.records import Damaged

_KEY = "lookalike:damaged"
_LISTED = 10_000  # more tell nobody more
_REPEATED_S = 30.0  # a reader comes by again and again


class DamageNotes:
    """The list, as a `ml.records.DamageLog`. A queue that does not answer keeps nobody from reading on."""

    def __init__(self, server: Any) -> None:
        self._redis = server
        self._told: dict[str, float] = {}

    def found(self, damaged: Damaged) -> None:
        now = time.monotonic()
        if now - self._told.get(damaged.key, -_REPEATED_S) < _REPEATED_S:
            return
        if len(self._told) > _LISTED:
            self._told.clear()
        self._told[damaged.key] = now
        with contextlib.suppress(redis.RedisError):
            if self._redis.hlen(_KEY) < _LISTED:
                self._redis.hset(_KEY, damaged.key, damaged.message)

    def mended(self, key: str) -> None:
        self._told.pop(key, None)
        with contextlib.suppress(redis.RedisError):
            self._redis.hdel(_KEY, key)

    def known(self) -> Collection[str]:
        with contextlib.suppress(redis.RedisError):
            return set(self._redis.hkeys(_KEY))
        return ()

    def summary(self) -> str:
        """How many there are and one of them, in a sentence; empty when there is none. Raises RedisError."""
        count = int(self._redis.hlen(_KEY))
        if not count:
            return ""
        _, some = self._redis.hscan(_KEY, count=10)
        example = min(some.items(), default=("", "see the next lines"))[1]
        files = "1 stored file is" if count == 1 else f"{count} stored files are"
        return f"{files} damaged or lost ({example}): run `lookalike verify --repair`"
