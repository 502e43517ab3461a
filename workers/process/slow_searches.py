"""Searches whose photo takes long to decode: they wait here, and not in the threads that other searches need.

A few at a time; the others wait in line, and when the line is long the next one is told to come again.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ml import cores
from workers.errors import Overloaded

logger = logging.getLogger(__name__)

_MOST = 64
_MOST_BYTES = 128 * 2**20  # of photos that wait


@dataclass(frozen=True)
class Later:
    """The rest of a search.

    Args:
        finish: does it, and returns what the search found.
        size: of what is kept for it, in bytes.
    """

    finish: Callable[[], Any]
    size: int


class SlowSearches:
    """Threads that finish searches. Safe to use from many threads."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max(1, cores.available() // 2), "slow-search")
        self._waiting: dict[str, int] = {}
        self._lock = threading.Lock()

    def submit(self, name: str, size: int, expires_s: float, step: Callable[[], None]) -> None:
        """Has a step done when its turn comes, unless nobody waits for it any more by then.

        Args:
            name: of the request. Who waits long asks again; the second time changes nothing.
            size: bytes that it keeps.
            expires_s: how long its result is waited for.
            step: finishes and replies. Must not raise.

        Raises:
            Overloaded: too many are waiting.
        """
        with self._lock:
            if name in self._waiting:
                return
            if len(self._waiting) >= _MOST or sum(self._waiting.values()) + size > max(size, _MOST_BYTES):
                raise Overloaded(
                    "too many photos that take long to decode are waiting", hint="try again in a moment, or use a JPEG"
                )
            self._waiting[name] = size
        expires_at = time.monotonic() + expires_s

        def run() -> None:
            try:
                if time.monotonic() < expires_at:
                    step()
            except Exception:
                logger.exception("a slow search failed")
            finally:
                with self._lock:
                    del self._waiting[name]

        self._threads.submit(run)

    def close(self) -> None:
        """Forgets what waits."""
        self._threads.shutdown(wait=False, cancel_futures=True)
