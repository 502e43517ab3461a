"""The search engine is away: noticed soon, and told in words that let nobody fear for their photos."""

import contextlib
import threading
import time
from collections.abc import Sequence

import redis

from workers.client.connection import QueueConnection, advice
from workers.errors import EngineAway, Unavailable
from workers.messages import WorkerStatus
from workers.queue.liveness import images_counted, living_workers, present_workers, waiting_reasons
from workers.supervision import Supervision

_NOTICED_S = 1.0  # a page that has waited for so long wants to know
_PATIENCE_S = 10.0  # of others: a worker may be starting
_ASKED_AGAIN_S = 0.5


class Lookout:
    """Looks whether anybody works, for requests that wait for an answer. Safe to use from many threads.

    Args:
        connection: to the queue. An interactive one is a portal's: its pages wait for a second, others for ten.
    """

    def __init__(self, connection: QueueConnection) -> None:
        self._connection = connection
        self.patience_s = _NOTICED_S if connection.is_interactive else _PATIENCE_S
        self._guard = threading.Lock()
        self._asked_at = float("-inf")
        self._present: Sequence[WorkerStatus] = ()

    def raise_if_nobody_works(self) -> None:
        """Raises Unavailable when there is no worker, or when every one of them waits for something."""
        server, is_page = self._connection.redis, self._connection.is_interactive
        if is_page and _is_worker_down(self._connection):
            raise outage(self._connection)
        workers = self._workers() if is_page else living_workers(server)
        reasons = [worker.problem for worker in workers] or waiting_reasons(server)
        if not workers and not reasons:
            if is_page:
                raise outage(self._connection)
            raise Unavailable("no worker is running", hint=advice(self._connection.settings.home, "worker"))
        if all(reasons):
            raise Unavailable(reasons[-1], hint="workers go on by themselves when that is back")

    def _workers(self) -> Sequence[WorkerStatus]:
        """Those that are there, asked for twice a second at most however many pages wait."""
        with self._guard:
            if time.monotonic() - self._asked_at > _ASKED_AGAIN_S:
                self._present = present_workers(self._connection.redis)
                self._asked_at = time.monotonic()
            return self._present


def outage(connection: QueueConnection) -> EngineAway:
    """What to tell when no worker answers."""
    home = connection.settings.home
    is_kept_running = Supervision.read(home) is not None
    count = None
    with contextlib.suppress(redis.RedisError, ValueError):
        count = images_counted(connection.redis)
    photos = f"your {count:,} photos are safe" if count and count > 1 else "your photos are safe"
    return EngineAway(
        f"the search engine {'is restarting' if is_kept_running else 'does not answer'}; {photos}",
        hint="this page goes on by itself" if is_kept_running else advice(home, "worker"),
    )


def _is_worker_down(connection: QueueConnection) -> bool:
    """Whether a supervisor on this machine says that every worker has ended: sooner than missing heartbeats do."""
    supervision = Supervision.read(connection.settings.home)
    workers = [each for each in supervision.services if each.name.startswith("worker")] if supervision else []
    return bool(workers) and all(each.state != "running" for each in workers)
