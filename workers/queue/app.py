"""The Celery application: what both sides of the queue agree on.

Three queues: `search` (someone waits), `index` (throughput) and `maintenance` (small changes that someone waits for).
Messages are JSON. The broker is not the record: see workers.queue.jobs.
"""

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from workers.queue.jobs import Jobs
from workers.settings import Settings

if TYPE_CHECKING:
    from celery import Celery

# Counted from delivery. With these three a task whose worker died by `kill -9` is back within 30 s: measured 17 to 24.
_TRANSPORT = {
    "visibility_timeout": 20,
    "unacked_restore_interval": 2,
    "unacked_restore_throttle": 1,
    "queue_order_strategy": "priority",
    "priority_steps": [0],  # one list per queue: no round trips for priorities that nobody uses
    "socket_keepalive": True,
    "socket_connect_timeout": 5,
    "health_check_interval": 10,
}

INTERACTIVE_S = 1.0

QUEUES = ("search", "index", "maintenance")
LONGEST_SEARCH_QUEUE = 200  # waiting searches; more would only wait longer
CHUNKS_PER_WORKER = 2  # one is decoded while another is embedded; its other threads stay free for searches
QUEUE_OF_JOB = dict.fromkeys(("label", "delete", "undelete"), "maintenance")  # the others: index


def make_app(settings: Settings, *, is_interactive: bool = False) -> "Celery":
    """An application that sends to, or works for, the settings' Redis.

    Args:
        is_interactive: for a sender that gives up after a second: a person waits for the page that says so.
    """
    from celery import Celery  # what only connects to Redis does without it

    app = Celery("lookalike", broker=_broker(settings.redis_url), set_as_current=False)
    if is_interactive:
        hurry = {"socket_timeout": INTERACTIVE_S, "socket_connect_timeout": INTERACTIVE_S}
        app.conf.update(
            broker_transport_options=_TRANSPORT | hurry,
            task_publish_retry_policy={"max_retries": 1, "interval_start": 0.1, "interval_max": 0.1},
        )
    else:
        app.conf.update(broker_transport_options=_TRANSPORT)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        # More than one prefetched, and redis-py ends the worker when the broker restarts.
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_soft_shutdown_timeout=5,
        worker_enable_soft_shutdown_on_idle=True,
    )
    return app


def _broker(url: str) -> str:
    """The same server as Celery names it: what is `unix` for redis-py is `redis+socket` for kombu."""
    if not url.startswith("unix://"):
        return url
    address, _, query = url.removeprefix("unix://").partition("?")
    (database,) = parse_qs(query).get("db", ["0"])[:1]
    return f"redis+socket://{address}?virtual_host={database}"


def connect_redis(settings: Settings, *, is_interactive: bool = False, name: str | None = None) -> Any:
    """A connection pool for job records and replies.

    `name` is what Redis lists its connections under: that of a worker, see liveness.present_workers.

    It waits out a restart of the server; an interactive one only for half a second, and for an answer a second: a page
    that says what is wrong is better than one that does not come.

    A `redis.Redis`; typed as Any, because its own types leave open whether answers are bytes, text or awaitable.
    """
    is_local = settings.redis_url.startswith("unix://")  # such a connection knows no keep-alive
    of_network: dict[str, Any] = {} if is_local else {"socket_keepalive": True, "socket_connect_timeout": 5}
    if is_interactive:
        passing = (redis.ConnectionError, redis.exceptions.BusyLoadingError)
        return redis.Redis.from_url(
            settings.redis_url,
            decode_responses=True,
            **of_network | {"socket_timeout": INTERACTIVE_S, "socket_connect_timeout": INTERACTIVE_S},
            # Tried again are connections that are refused or cut, not those that do not answer.
            retry=Retry(ExponentialBackoff(cap=0.1, base=0.05), retries=2, supported_errors=passing),
            retry_on_error=list(passing),
        )
    return redis.Redis.from_url(
        settings.redis_url,
        decode_responses=True,
        client_name=name,
        **of_network,
        health_check_interval=15,
        retry=Retry(ExponentialBackoff(cap=1.0, base=0.05), retries=8),
        retry_on_error=[redis.ConnectionError, redis.TimeoutError, redis.exceptions.BusyLoadingError],
    )


def enqueue_due_chunks(app: "Celery", jobs: Jobs, job: str, workers: int, keep: int = 0) -> list[int]:
    """Enqueues what is due of a job, a few chunks for each worker. The first `keep` are returned instead."""
    queue = QUEUE_OF_JOB.get(job.split("-")[0], "index")
    due = jobs.due(job, width=CHUNKS_PER_WORKER * max(1, workers))
    for number in due[keep:]:
        app.send_task("work_on_chunk", (job, number), queue=queue)
    return due[:keep]
