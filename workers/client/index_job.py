"""A job that is filled while workers are already at it: what an indexing command and an upload write into.

While it is open a timer says that its filler lives, however long reading the next file takes: a job whose filler has
been silent is closed by housekeeping, so that what it holds ends. A filler that comes back opens it again.
"""

import contextlib
import threading
import time

import redis

from workers.client.connection import QueueConnection
from workers.messages import Failure
from workers.queue.jobs import CHUNK

_TOUCHED_S = 10.0


class OpenJob:
    """An index job that still takes images, while it already runs. `job` is its id."""

    def __init__(self, connection: QueueConnection) -> None:
        self._connection = connection
        self._jobs = connection.jobs
        self._ids: list[str] = []
        self._seen: set[bytes] = set()
        self._flushed_at = time.monotonic()
        self._closed = threading.Event()
        with connection.errors_reported():
            self.job = self._jobs.create("index")
        threading.Thread(target=self._touch_again, name=f"filler-{self.job}", daemon=True).start()

    def append(self, id: str) -> None:
        """Adds an image. The same image a second time counts as unchanged."""
        if (key := bytes.fromhex(id)) in self._seen:
            self._count("unchanged")
            return
        self._seen.add(key)
        self._ids.append(id)
        if len(self._ids) >= CHUNK or time.monotonic() - self._flushed_at > 5:
            self.flush()

    def fail(self, path: str, reason: str) -> None:
        """Counts a file that could not be added."""
        self._count("failed", Failure(path, reason))

    def flush(self) -> None:
        """Enqueues what has been collected.

        Raises:
            Unavailable: the queue does not answer.
            JobEnded: the job was stopped or has failed.
        """
        with self._connection.errors_reported():
            self._jobs.append(self.job, self._ids)
            self._connection.enqueue_due(self.job)
        self._ids = []
        self._flushed_at = time.monotonic()

    def close(self) -> None:
        """Enqueues the rest: the job ends with its last chunk. Raises Unavailable when the queue does not answer."""
        self._closed.set()
        self.flush()
        with self._connection.errors_reported():
            self._jobs.seal(self.job)

    def _touch_again(self) -> None:
        while not self._closed.wait(_TOUCHED_S):
            with contextlib.suppress(redis.RedisError):  # what the filler does next says so better
                self._jobs.touch(self.job)

    def _count(self, counter: str, *failures: Failure) -> None:
        with self._connection.errors_reported():
            self._jobs.count(self.job, {counter: 1}, failures)
