"""What the tasks of one worker process share."""

from dataclasses import dataclass
from typing import Any

from celery import Celery

from workers.process.heartbeat import Heartbeat
from workers.process.serving import Serving
from workers.queue.jobs import Jobs


@dataclass(frozen=True)
class Context:
    """Made once when a worker starts, and given to everything that works in it."""

    app: Celery
    redis: Any
    jobs: Jobs
    serving: Serving
    heartbeat: Heartbeat

    @property
    def worker(self) -> str:
        """The id of this process among the workers."""
        return self.heartbeat.worker
