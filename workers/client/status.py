"""System status, in words: what `lookalike status`, the portal and readiness probes show."""

import shutil
from typing import Any

import redis

from ml.errors import LookalikeError
from ml.model.registry import Registry
from workers.client.connection import QueueConnection, advice
from workers.messages import SystemStatus, WorkerStatus
from workers.queue.app import LONGEST_SEARCH_QUEUE
from workers.queue.damage import DamageNotes
from workers.queue.jobs import Jobs
from workers.queue.liveness import canary_age_s, living_workers, server_time, waiting_reasons
from workers.queue.questions import queue_lengths
from workers.settings import Settings
from workers.supervision import Supervision

_GROWN = 1.5  # times the photos that a model was tuned to
_SILENT_S = 45.0  # a canary goes through every queue every ten seconds


def system_status(connection: QueueConnection, registry: Registry) -> SystemStatus:
    """The whole system in one object, within two seconds. Raises nothing: what does not answer is among the problems.

    What only workers know is None while none of them can be heard.
    """
    workers: tuple[WorkerStatus, ...] = ()
    queues: dict[str, int] = {}
    settings = connection.settings
    problems = _of_this_machine(settings)
    try:
        workers = tuple(living_workers(connection.probe))
        queues = queue_lengths(connection.probe)
        problems += _of_queue(connection.probe, workers, queues, settings)
    except redis.RedisError as error:
        workers, queues = (), {}
        problems.append("; ".join(connection.explain(error)))
    latest = workers[-1] if workers else None
    return SystemStatus(
        healthy=not problems,
        problems=tuple(problems),
        model=latest.model if latest else None,
        collection=latest.collection if latest else None,
        images=latest.images if latest else None,
        queues=queues,
        workers=workers,
        settings=settings.shown(),
        suggestions=suggestions(registry, latest.model, latest.images) if latest else (),
    )


def suggestions(registry: Registry, model: str, images: int) -> tuple[str, ...]:
    """What would make searches better, in words: tuning the model to the gallery, or again to one that has grown."""
    from ml.tuning.gallery_head import FEWEST_PHOTOS

    if images < FEWEST_PHOTOS:
        return ()
    try:
        tuning = registry.record(model).lineage.get("tuning")
    except LookalikeError:  # damaged or away: others tell
        return ()
    if not isinstance(tuning, dict) or not isinstance(tuning.get("photos"), int):
        return ("searches find more once the model is fitted to these photos, in a minute or two: lookalike tune",)
    if images >= _GROWN * tuning["photos"]:
        photos = tuning["photos"]
        return (f"the model was tuned to {photos} photos, now there are {images}: run lookalike tune again",)
    return ()


def _of_this_machine(settings: Settings) -> list[str]:
    """What the supervisor says, if there is one, and how the disk is: both can be read while the queue is away."""
    supervision = Supervision.read(settings.home)
    problems = supervision.problems() if supervision else []
    try:
        free_mb = shutil.disk_usage(settings.home).free / 2**20
    except OSError:  # a portal in a container may have no home
        return problems
    if free_mb < settings.max_upload_mb:
        problems.append(
            f"{free_mb:.0f} MB are free in {settings.home}, less than an image may have "
            f"({settings.max_upload_mb} MB): free space there"
        )
    return problems


def _of_queue(server: Any, workers: tuple[WorkerStatus, ...], queues: dict[str, int], settings: Settings) -> list[str]:
    problems = []
    persistence = server.info("persistence")
    if "err" in (persistence.get("aof_last_write_status"), persistence.get("rdb_last_bgsave_status")):
        problems.append("the queue cannot write to its disk: free space there")
    waiting = waiting_reasons(server)
    if not workers and not waiting:
        problems.append(f"no worker is running: {advice(settings.home, 'worker')}")
    problems += [f"a worker waits before it starts: {reason}" for reason in waiting]
    problems += sorted({worker.problem for worker in workers if worker.problem})
    served = {queue for worker in workers for queue in worker.queues}
    problems += [
        f"no worker takes tasks from the queue {queue}: add it to LOOKALIKE_QUEUES of one"
        for queue in queues
        if workers and queue not in served
    ]
    now = server_time(server)
    for queue in served:
        running_s = now - min(worker.started_at for worker in workers if queue in worker.queues)
        # The last canary of a system that has just been started again is that of the one before.
        silent_s = min(canary_age_s(server, queue) or 0.0, running_s)
        if silent_s > _SILENT_S:
            problems.append(f"no task of queue {queue} was finished for {silent_s:.0f} s: restart its workers")
    problems += [f"the job {job} waits: {reason}" for job, reason in Jobs(server).waiting().items()]
    if queues["search"] > LONGEST_SEARCH_QUEUE:
        problems.append(f"{queues['search']} searches are waiting: add workers")
    if damage := DamageNotes(server).summary():
        problems.append(damage)
    return problems
