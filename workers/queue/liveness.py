"""Which workers live and which queues move, as Redis holds it.

Two signs, because one does not tell enough. A *heartbeat* says that a worker process runs, and what it serves. A
*canary* is a small task that is sent through a queue; when it was finished last says that tasks of that queue get
done: a worker can be alive and consume nothing (celery issue 10205).

    lookalike:worker:<id>       a messages.WorkerStatus; expires when no heartbeat renews it
    lookalike:workers           ids by the time of their last heartbeat
    lookalike:images            images of the active collection, as a worker counted them last; stays
    lookalike:waiting:<id>      what a worker that has not started yet waits for; expires like a heartbeat
    lookalike:waiting           ids of such workers by the time at which they last said so
    lookalike:canary:<queue>    when the last canary was finished, and how long it had waited

Heartbeats are written by workers.process.heartbeat, canaries sent by workers.tasks.housekeeping. Both are read by
the system status (workers.client.status) and workers.metrics. An orchestrator's probe asks the process instead, which
may live while Redis does not: see workers.life_sign.
"""

import json
from typing import Any

import redis

from workers.messages import WorkerStatus

_IMAGES = "lookalike:images"
HEARTBEAT_EXPIRES_S = 8  # without one a worker counts as dead, and its claims are given to others
_WORKERS = "lookalike:workers"
_WAITING = "lookalike:waiting"
_FORGOTTEN_S = 3600.0
_NAMED = "is_named"  # whether the worker's connections carry its id; not so before version 0.2


def server_time(server: Any) -> float:
    """Seconds since 1970 by Redis' clock: the only one that processes on different machines may compare."""
    seconds, microseconds = server.time()
    return float(seconds + microseconds / 1e6)


def worker_key(worker: str) -> str:
    """The key whose presence says that a worker lives; Lua scripts look at it, too."""
    return f"lookalike:worker:{worker}"


def record_heartbeat(server: Any, status: WorkerStatus) -> None:
    """Says that a worker lives, and what it serves."""
    now = server_time(server)
    is_named = server.connection_pool.connection_kwargs.get("client_name") == status.id
    with server.pipeline() as pipe:
        pipe.set(worker_key(status.id), json.dumps(status.to_json() | {_NAMED: is_named}), ex=HEARTBEAT_EXPIRES_S)
        pipe.set(_IMAGES, status.images)
        pipe.zadd(_WORKERS, {status.id: now})
        pipe.zremrangebyscore(_WORKERS, "-inf", now - _FORGOTTEN_S)
        pipe.execute()


def forget_worker(server: Any, worker: str) -> None:
    """Declares a worker dead: what it claimed is due at once."""
    server.delete(worker_key(worker))
    server.zrem(_WORKERS, worker)


def forget_all_workers(server: Any) -> None:
    """Declares every worker dead, for whoever knows that there is none."""
    for worker in server.zrange(_WORKERS, 0, -1):
        forget_worker(server, worker)


def living_workers(server: Any) -> list[WorkerStatus]:
    """Every worker whose heartbeat has not expired, as it described itself; the latest heartbeat last."""
    return [WorkerStatus.from_json(record) for record in _records(server)]


def present_workers(server: Any) -> list[WorkerStatus]:
    """Those of the living whose connections Redis has: these end with a process, seconds before its heartbeat expires.

    For whoever has waited already: it lists all of the server's connections. Where that is forbidden, all are present.
    """
    records = _records(server)
    try:
        names = {connection["name"] for connection in server.client_list()} if records else set()
    except redis.ResponseError:
        return [WorkerStatus.from_json(record) for record in records]
    return [WorkerStatus.from_json(each) for each in records if not each.get(_NAMED) or each["id"] in names]


def _records(server: Any) -> list[dict[str, Any]]:
    heartbeats = dict(server.zrange(_WORKERS, 0, -1, withscores=True))
    records = server.mget([worker_key(worker) for worker in heartbeats]) if heartbeats else []
    now = server_time(server)
    return [
        json.loads(record) | {"age_s": round(max(0.0, now - heard_at), 1)}
        for record, heard_at in zip(records, heartbeats.values(), strict=True)
        if record is not None
    ]


def count_living_workers(server: Any, within_s: float = 10.0) -> int:
    """How many workers had a heartbeat lately: one round trip, for whoever asks often."""
    return int(server.zcount(_WORKERS, server_time(server) - within_s, "+inf"))


def record_waiting(server: Any, worker: str, reason: str) -> None:
    """Says that a worker cannot start yet, and what it waits for."""
    now = server_time(server)
    with server.pipeline() as pipe:
        pipe.set(f"{_WAITING}:{worker}", reason, ex=HEARTBEAT_EXPIRES_S)
        pipe.zadd(_WAITING, {worker: now})
        pipe.zremrangebyscore(_WAITING, "-inf", now - HEARTBEAT_EXPIRES_S)
        pipe.execute()


def forget_waiting(server: Any, worker: str) -> None:
    """Says that a worker waits no longer."""
    server.delete(f"{_WAITING}:{worker}")
    server.zrem(_WAITING, worker)


def waiting_reasons(server: Any) -> list[str]:
    """What workers that cannot start yet wait for, each reason once."""
    workers = server.zrange(_WAITING, 0, -1)
    reasons = server.mget([f"{_WAITING}:{worker}" for worker in workers]) if workers else []
    return sorted({reason for reason in reasons if reason})


def record_canary(server: Any, queue: str, waited_s: float) -> None:
    """Says that a canary has just gone through a queue."""
    server.set(_canary_key(queue), json.dumps({"finished_at": server_time(server), "waited_s": waited_s}))


def canary_age_s(server: Any, queue: str) -> float | None:
    """Seconds since a canary last went through a queue; None when none ever did."""
    record = server.get(_canary_key(queue))
    return None if record is None else max(0.0, server_time(server) - float(json.loads(record)["finished_at"]))


def _canary_key(queue: str) -> str:
    return f"lookalike:canary:{queue}"


def images_counted(server: Any) -> int | None:
    """How many images a worker counted last, None when none ever has. It stays when no worker is left."""
    counted = server.get(_IMAGES)
    return None if counted is None else int(counted)
