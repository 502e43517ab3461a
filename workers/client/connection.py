"""The client's connection to the queue: Redis, the Celery application, and the job records of one system."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import kombu
import redis

from workers.errors import Unavailable
from workers.queue.app import connect_redis, enqueue_due_chunks, make_app
from workers.queue.jobs import CHUNK, Jobs
from workers.queue.liveness import count_living_workers
from workers.settings import Settings


class QueueConnection:
    """What all of the client's modules send work through. Constructing one never blocks."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.redis = connect_redis(settings)
        self.app = make_app(settings)
        self.jobs = Jobs(self.redis)

    @contextlib.contextmanager
    def errors_reported(self) -> Iterator[None]:
        """Turns a queue that does not answer into Unavailable."""
        try:
            yield
        except (redis.RedisError, kombu.exceptions.OperationalError) as error:
            where = without_password(self.settings.redis_url) or "an address that is not set"
            raise Unavailable(
                f"the queue at {where} does not answer", hint="start the system with: lookalike up"
            ) from error

    def start_job(
        self,
        kind: str,
        params: Mapping[str, Any],
        items: Sequence[str],
        *,
        is_counted: bool = True,
        chunk_size: int = CHUNK,
    ) -> str:
        """Starts a job whose items are all known, and returns its id.

        Args:
            kind: what its id begins with.
            params: what workers read of it.
            items: image ids or prefixes.
            is_counted: whether items are the job's total; otherwise workers count what they find.
            chunk_size: items per task.

        Raises:
            Unavailable: the queue does not answer.
        """
        with self.errors_reported():
            job = self.jobs.create(kind, params)
            self.jobs.append(job, items, counted=is_counted, size=chunk_size)
            self.jobs.seal(job)
            self.enqueue_due(job)
        return job

    def enqueue_due(self, job: str) -> int:
        """Enqueues what is due of a job. Returns the number of living workers."""
        workers = count_living_workers(self.redis)
        enqueue_due_chunks(self.app, self.jobs, job, workers)
        return workers


def without_password(url: str) -> str:
    """An address that may be shown."""
    head, at, tail = url.rpartition("@")
    return f"{head.split('://')[0]}://…@{tail}" if at else url
