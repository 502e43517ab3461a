"""A job that is filled while workers are already at it: what an indexing command and an upload write into."""

import time
from typing import TYPE_CHECKING

from workers.messages import Failure
from workers.queue.jobs import CHUNK

if TYPE_CHECKING:
    from workers.client import Client


class Filling:
    """A job that is being filled while it already runs. `job` is its id."""

    def __init__(self, client: "Client", job: str) -> None:
        self.job = job
        self._client = client
        self._ids: list[str] = []
        self._seen: set[bytes] = set()
        self._flushed_at = time.monotonic()

    def add(self, id: str) -> None:
        """Adds an image. The same image a second time counts as unchanged."""
        if (key := bytes.fromhex(id)) in self._seen:
            self._client.jobs.count(self.job, {"unchanged": 1})
            return
        self._seen.add(key)
        self._ids.append(id)
        if len(self._ids) >= CHUNK or time.monotonic() - self._flushed_at > 5:
            self.flush()

    def fail(self, path: str, reason: str) -> None:
        """Counts a file that could not be added."""
        self._client.jobs.count(self.job, {"failed": 1}, [Failure(path, reason)])

    def flush(self) -> None:
        """Enqueues what has been collected."""
        with self._client.reporting():
            self._client.jobs.append(self.job, self._ids)
            self._client.jobs.touch(self.job)
            self._client.push(self.job)
        self._ids = []
        self._flushed_at = time.monotonic()
