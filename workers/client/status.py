"""System status, in words: what `lookalike status`, the portal and readiness probes show."""

import redis

from workers.client.connection import QueueConnection, without_password
from workers.messages import SystemStatus, WorkerStatus
from workers.queue.app import LONGEST_SEARCH_QUEUE, QUEUES
from workers.queue.damage import DamageNotes
from workers.queue.liveness import canary_age_s, living_workers

_SILENT_S = 45.0  # a canary goes through every queue every ten seconds


def system_status(connection: QueueConnection) -> SystemStatus:
    """The whole system in one object. Raises nothing: what does not answer is among the problems."""
    workers: tuple[WorkerStatus, ...] = ()
    queues: dict[str, int] = {}
    settings = connection.settings
    try:
        workers = tuple(living_workers(connection.redis))
        queues = {queue: int(connection.redis.llen(queue)) for queue in QUEUES}
        problems = _problems(connection, workers, queues)
    except redis.RedisError as error:
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


def _problems(connection: QueueConnection, workers: tuple[WorkerStatus, ...], queues: dict[str, int]) -> list[str]:
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
        silent_s = canary_age_s(connection.redis, queue) or 0.0
        if silent_s > _SILENT_S:
            problems.append(f"no task of queue {queue} was finished for {silent_s:.0f} s: restart its workers")
    problems += [f"the job {job} waits: {reason}" for job, reason in connection.jobs.waiting().items()]
    if queues["search"] > LONGEST_SEARCH_QUEUE:
        problems.append(f"{queues['search']} searches are waiting: add workers")
    if damage := DamageNotes(connection.redis).summary():
        problems.append(damage)
    return problems
