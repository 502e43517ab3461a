"""The client's connection to the queue: Redis, the Celery application, and the job records of one system."""

import contextlib
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis

from workers.errors import Unavailable
from workers.queue.app import connect_redis, enqueue_due_chunks, make_app
from workers.queue.jobs import CHUNK, Jobs
from workers.queue.liveness import count_living_workers
from workers.settings import Settings
from workers.supervision import Supervision

if TYPE_CHECKING:
    from celery import Celery


class QueueConnection:
    """What all of the client's modules send work through. Constructing one never blocks.

    Args:
        is_interactive: gives up on a queue that does not answer after a second.
    """

    def __init__(self, settings: Settings, *, is_interactive: bool = False) -> None:
        self.settings = settings
        self.is_interactive = is_interactive
        self.redis = connect_redis(settings, is_interactive=is_interactive)
        self.probe = self.redis if is_interactive else connect_redis(settings, is_interactive=True)
        self.jobs = Jobs(self.redis)
        self.block_s = 0.5 if is_interactive else 2.0  # longest wait in one command: less than a socket waits

    @functools.cached_property
    def app(self) -> "Celery":
        """The Celery application, imported when a message is sent: a search that workers listen for needs none."""
        return make_app(self.settings, is_interactive=self.is_interactive)

    @contextlib.contextmanager
    def errors_reported(self) -> Iterator[None]:
        """Turns a queue that does not answer into Unavailable."""
        try:
            yield
        except _failures() as error:
            message, hint = self.explain(error)
            raise Unavailable(message, hint=hint) from error

    def explain(self, error: Exception) -> tuple[str, str]:
        """What is wrong with the queue, and what to do."""
        where = without_password(self.settings.redis_url) or "an address that is not set"
        if "MISCONF" in str(error):
            return f"the queue at {where} cannot write to its disk", "free space there: it goes on by itself then"
        return f"the queue at {where} does not answer", advice(self.settings.home, "queue")

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


def _failures() -> tuple[type[Exception], ...]:
    from kombu.exceptions import OperationalError

    return redis.RedisError, OperationalError


_STARTS = {"queue": "start the system with: lookalike up", "worker": "start one with: lookalike worker"}


def advice(home: Path, service: str) -> str:
    """What to do when the `queue` or every `worker` is away: it depends on who keeps it running."""
    supervision = Supervision.read(home)
    if supervision and any(each.name.startswith(service) for each in supervision.services):
        return f"`{supervision.command}` (process {supervision.pid}) starts it again by itself; see {supervision.logs}"
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return f"look for the {service} with: kubectl get pods"
    if Path("/.dockerenv").exists():
        return f"look for the {service} with: docker compose ps --all"
    return _STARTS[service]


def without_password(url: str) -> str:
    """An address that may be shown."""
    head, at, tail = url.rpartition("@")
    return f"{head.split('://')[0]}://…@{tail}" if at else url
