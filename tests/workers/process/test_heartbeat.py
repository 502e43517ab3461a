"""What a worker says of itself is by the clock that everybody shares."""

import time
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from workers.process.heartbeat import Heartbeat
from workers.queue.liveness import living_workers, server_time


@pytest.mark.parametrize("off_s", [-3600.0, 3600.0])
def test_when_it_started_is_told_by_the_servers_clock(
    queue: redis.Redis, monkeypatch: pytest.MonkeyPatch, off_s: float
) -> None:
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + off_s)
    live = SimpleNamespace(
        model="m", collection="photos", embedder=SimpleNamespace(device="cpu", precision="f32", why="no GPU")
    )
    serving: Any = SimpleNamespace(
        active=lambda: live,
        targets=lambda: (live,),
        settings=SimpleNamespace(queues=("search",)),
        store=SimpleNamespace(count=lambda collection: 0, problem=lambda: ""),
    )
    Heartbeat(queue, serving).beat()
    (worker,) = living_workers(queue)
    assert abs(worker.started_at - server_time(queue)) < 60
