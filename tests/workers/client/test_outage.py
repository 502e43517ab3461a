"""A page learns within two seconds that no worker answers, and says that nothing is lost."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from workers.client import outage
from workers.client.connection import QueueConnection
from workers.client.rpc import RpcClient
from workers.errors import Unavailable
from workers.messages import ServiceStatus, WorkerStatus
from workers.queue import replies
from workers.queue.app import connect_redis
from workers.queue.liveness import HEARTBEAT_EXPIRES_S, living_workers, present_workers, record_heartbeat
from workers.settings import load
from workers.supervision import SupervisionFile


@pytest.fixture
def connection(queue: redis.Redis, queue_url: str, tmp_path: Path) -> Any:
    settings = load({"LOOKALIKE_HOME": str(tmp_path), "LOOKALIKE_REDIS_URL": queue_url})
    made: Any = QueueConnection(settings, is_interactive=True)
    made.app = SimpleNamespace(send_task=lambda *_, **__: None)  # nobody takes it anyway
    return made


ASKING: dict[str, Callable[[RpcClient], object]] = {
    "a page": lambda client: client.call("labels", {}, 30.0),
    "a search": lambda client: client.search({"like": [{"image": b"photo"}]}, 30.0),
}


@pytest.fixture(params=ASKING)
def ask(request: pytest.FixtureRequest, connection: Any) -> Callable[[], object]:
    """What waits for a worker."""
    return lambda: ASKING[request.param](RpcClient(connection))


def status_of(worker: str) -> WorkerStatus:
    return WorkerStatus(worker, "here", 1, ("search",), "cpu", "bf16", "", "m", "c", 1830, 0.0, 0.0, 1)


def test_no_worker_at_all_is_told_with_the_number_of_photos(ask: Callable[[], object], queue: redis.Redis) -> None:
    queue.set("lookalike:images", 1830)
    began = time.monotonic()
    with pytest.raises(Unavailable, match="the search engine does not answer; your 1,830 photos are safe"):
        ask()
    assert time.monotonic() - began < 5  # 1.5 s where nothing else runs


def test_a_worker_that_is_gone_is_missed_before_its_heartbeat_expires(
    ask: Callable[[], object], queue: redis.Redis, queue_url: str
) -> None:
    gone = connect_redis(load({"LOOKALIKE_REDIS_URL": queue_url}), name="w1")
    record_heartbeat(gone, status_of("w1"))
    assert [worker.id for worker in present_workers(queue)] == ["w1"]
    gone.close()  # as the system does for a process that is killed
    began = time.monotonic()
    with pytest.raises(Unavailable, match="the search engine does not answer; your 1,830 photos are safe"):
        ask()
    assert time.monotonic() - began < HEARTBEAT_EXPIRES_S - 1
    assert living_workers(queue), "its heartbeat has not expired"


@pytest.mark.parametrize("name", ["w1", None])  # None: of a version whose connections have no names
def test_a_worker_that_is_there_is_waited_for(
    ask: Callable[[], object], queue_url: str, monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    worker = connect_redis(load({"LOOKALIKE_REDIS_URL": queue_url}), name=name)
    record_heartbeat(worker, status_of("w1"))
    monkeypatch.setattr(replies, "new_address", lambda: "lookalike:reply:here")
    looked = threading.Event()

    def look(server: Any) -> list[WorkerStatus]:
        looked.set()
        return present_workers(server)

    monkeypatch.setattr(outage, "present_workers", look)
    with ThreadPoolExecutor() as portal:
        answer = portal.submit(ask)
        assert looked.wait(30)
        replies.send(worker, "lookalike:reply:here", {"answer": 1})
        assert answer.result(30) == {"answer": 1}
    worker.close()


def test_a_worker_that_is_started_again_is_said_to_be(ask: Callable[[], object], tmp_path: Path) -> None:
    supervision = SupervisionFile(tmp_path, "lookalike up")
    supervision.write([ServiceStatus("worker", "ended", 1, "signal SIGKILL", time.time())])
    with pytest.raises(Unavailable, match="the search engine is restarting; your photos are safe") as caught:
        ask()
    assert caught.value.hint == "this page goes on by itself"
    supervision.close()
