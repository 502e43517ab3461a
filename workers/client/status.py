"""Whether the system is well, in words: what `lookalike status`, the portal and probes show."""

import json
import time
from typing import Any

import redis

from workers.messages import SystemStatus, WorkerStatus
from workers.queue.app import QUEUES, canary_key, living
from workers.settings import Settings

LONGEST_QUEUE = 200  # searches waiting; more would only wait longer
_SILENT_S = 45.0  # a queue's probe comes every ten seconds


def status_of(settings: Settings, server: Any) -> SystemStatus:
    """The whole system in one object. Raises nothing: what does not answer is among the problems."""
    try:
        workers = tuple(living(server))
        queues = {queue: int(server.llen(queue)) for queue in QUEUES}
        problems = _problems(server, workers, queues)
    except redis.RedisError as error:
        workers, queues = (), {}
        problems = [f"the queue at {without_password(settings.redis_url)} does not answer: {error}"]
    latest = workers[-1] if workers else None
    return SystemStatus(
        healthy=not problems,
        problems=tuple(problems),
        model=latest.model if latest else None,
        collection=latest.collection if latest else None,
        images=latest.images if latest else 0,
        queues=queues,
        workers=workers,
        settings=settings.shown(),
    )


def _problems(server: Any, workers: tuple[WorkerStatus, ...], queues: dict[str, int]) -> list[str]:
    problems = []
    if not workers:
        problems.append("no worker is running: start one with `lookalike worker`, or everything with `lookalike up`")
    served = {queue for worker in workers for queue in worker.queues}
    problems += [
        f"no worker takes tasks from the queue {queue}: add it to LOOKALIKE_QUEUES of one"
        for queue in queues
        if workers and queue not in served
    ]
    for queue in served:
        probe = server.get(canary_key(queue))
        silent_s = time.time() - json.loads(probe)["finished_at"] if probe else 0.0
        if silent_s > _SILENT_S:
            problems.append(f"no task of queue {queue} was finished for {silent_s:.0f} s: restart its workers")
    if queues["search"] > LONGEST_QUEUE:
        problems.append(f"{queues['search']} searches are waiting: add workers")
    return problems


def without_password(url: str) -> str:
    """An address that may be shown."""
    head, at, tail = url.rpartition("@")
    return f"{head.split('://')[0]}://…@{tail}" if at else url
