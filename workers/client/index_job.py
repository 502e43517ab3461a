"""A job that is filled while workers are already at it: what an indexing command and an upload write into."""

import time

from workers.client.connection import QueueConnection
from workers.messages import Failure
from workers.queue.jobs import CHUNK


class OpenJob:
    """An index job that still takes images, while it already runs. `job` is its id."""

    def __init__(self, connection: QueueConnection) -> None:
        self._connection = connection
        self._jobs = connection.jobs
        self._ids: list[str] = []
        self._seen: set[bytes] = set()
        self._flushed_at = time.monotonic()
        with connection.errors_reported():
            self.job = self._jobs.create("index")

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
        """Enqueues what has been collected. Raises Unavailable when the queue does not answer."""
        with self._connection.errors_reported():
            self._jobs.append(self.job, self._ids)
            self._jobs.touch(self.job)
            self._connection.enqueue_due(self.job)
        self._ids = []
        self._flushed_at = time.monotonic()

    def close(self) -> None:
        """Enqueues the rest: the job ends with its last chunk. Raises Unavailable when the queue does not answer."""
        self.flush()
        with self._connection.errors_reported():
            self._jobs.seal(self.job)

    def _count(self, counter: str, *failures: Failure) -> None:
        with self._connection.errors_reported():
            self._jobs.count(self.job, {counter: 1}, failures)
