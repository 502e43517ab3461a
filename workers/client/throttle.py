"""Counts failures, so that guessing is slow. In Redis, so that many portals count together.

The counting is that of `limits`, which Flask-Limiter is made of. Flask-Limiter itself decides before a request is
looked at; here the decision is the authenticator's, which knows whether a token was wrong.
"""

import contextlib
import math
import time
from collections.abc import Iterator

import redis
from limits import RateLimitItemPerHour, RateLimitItemPerMinute
from limits.storage import MemoryStorage, RedisStorage, Storage
from limits.strategies import FixedWindowRateLimiter

_LIMITS = (RateLimitItemPerMinute(5), RateLimitItemPerHour(50))
_PATIENCE_S = 0.5  # a queue that does not answer slows nobody down


class Throttle:
    """Failures by key: after five in a minute or fifty in an hour a key has to wait. Counters go by themselves."""

    def __init__(self, storage: Storage) -> None:
        self._limiter = FixedWindowRateLimiter(storage)

    @classmethod
    def on_redis(cls, url: str) -> "Throttle":
        """Counts in the server at a URL of LOOKALIKE_REDIS_URL; in this process when there is none."""
        if not url:
            return cls(MemoryStorage())
        is_local = url.startswith("unix://")  # such a connection takes no time to open, and no option that says so
        patience = {"socket_timeout": _PATIENCE_S} | ({} if is_local else {"socket_connect_timeout": _PATIENCE_S})
        pool = redis.ConnectionPool.from_url(url, **patience)
        return cls(RedisStorage("redis://", connection_pool=pool, key_prefix="lookalike:failures"))

    def wait_s(self, key: str) -> int:
        """Seconds until the key may try again; 0 when it may now."""
        wait = 0.0
        with _forgiving():
            for limit in _LIMITS:
                if not self._limiter.test(limit, key):
                    wait = max(wait, self._limiter.get_window_stats(limit, key).reset_time - time.time())
        return math.ceil(max(wait, 0))

    def note(self, key: str) -> None:
        """Counts a failure."""
        with _forgiving():
            for limit in _LIMITS:
                self._limiter.hit(limit, key)


@contextlib.contextmanager
def _forgiving() -> Iterator[None]:
    """While nothing can be counted, who has the right token still comes in."""
    with contextlib.suppress(redis.RedisError):
        yield
