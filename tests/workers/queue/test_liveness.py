"""A worker lives while its heartbeat lasts; a queue moves while canaries go through it."""

import time

import pytest
import redis

from workers.messages import WorkerStatus
from workers.queue import liveness


def status(worker: str) -> WorkerStatus:
    return WorkerStatus(
        id=worker,
        host="here",
        pid=1,
        queues=("search",),
        device="cpu",
        precision="bf16",
        why="no GPU",
        model="m",
        collection="c",
        images=3,
        age_s=0.0,
        started_at=time.time(),
        rss_mb=100.0,
    )


def test_a_worker_lives_from_its_heartbeat_until_that_expires(queue: redis.Redis) -> None:
    for worker in ("a", "b"):
        liveness.record_heartbeat(queue, status(worker))
    assert [worker.id for worker in liveness.living_workers(queue)] == ["a", "b"]
    assert liveness.count_living_workers(queue) == 2
    left_s = queue.ttl(liveness.worker_key("a"))
    assert liveness.HEARTBEAT_EXPIRES_S - 2 <= left_s <= liveness.HEARTBEAT_EXPIRES_S
    queue.delete(liveness.worker_key("a"))  # as it expires
    assert [worker.id for worker in liveness.living_workers(queue)] == ["b"]


def test_a_worker_that_says_goodbye_is_gone_at_once(queue: redis.Redis) -> None:
    for worker in ("a", "b", "c"):
        liveness.record_heartbeat(queue, status(worker))
    liveness.forget_worker(queue, "b")
    assert [worker.id for worker in liveness.living_workers(queue)] == ["a", "c"]
    liveness.forget_all_workers(queue)
    assert liveness.living_workers(queue) == []
    assert liveness.count_living_workers(queue) == 0


def test_workers_without_a_heartbeat_for_an_hour_are_forgotten(queue: redis.Redis) -> None:
    queue.zadd("lookalike:workers", {"old": time.time() - 3700})
    liveness.record_heartbeat(queue, status("a"))
    assert queue.zrange("lookalike:workers", 0, -1) == ["a"]


def test_the_last_canary_of_each_queue_is_known(queue: redis.Redis) -> None:
    assert liveness.canary_age_s(queue, "search") is None
    liveness.record_canary(queue, "search", waited_s=0.2)
    assert liveness.canary_age_s(queue, "search") == pytest.approx(0, abs=5)
    assert liveness.canary_age_s(queue, "index") is None
