"""The search engine is away: noticed soon, and told in words that let nobody fear for their photos."""

import contextlib

import redis

from workers.client.connection import QueueConnection, advice
from workers.errors import Unavailable
from workers.queue.liveness import images_counted
from workers.supervision import Supervision

NOTICED_S = 1.0  # a page that has waited for so long wants to know


def outage(connection: QueueConnection) -> Unavailable:
    """What to tell when no worker answers."""
    home = connection.settings.home
    is_kept_running = Supervision.read(home) is not None
    count = None
    with contextlib.suppress(redis.RedisError, ValueError):
        count = images_counted(connection.redis)
    photos = f"your {count:,} photos are safe" if count and count > 1 else "your photos are safe"
    return Unavailable(
        f"the search engine {'is restarting' if is_kept_running else 'does not answer'}; {photos}",
        hint="this page goes on by itself" if is_kept_running else advice(home, "worker"),
    )


def is_worker_down(connection: QueueConnection) -> bool:
    """Whether a supervisor on this machine says that every worker has ended: sooner than missing heartbeats do."""
    supervision = Supervision.read(connection.settings.home)
    workers = [each for each in supervision.services if each.name.startswith("worker")] if supervision else []
    return bool(workers) and all(each.state != "running" for each in workers)
