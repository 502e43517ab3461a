"""A page learns within two seconds that no worker answers, and says that nothing is lost."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from workers.client.connection import QueueConnection
from workers.client.rpc import RpcClient
from workers.errors import Unavailable
from workers.messages import ServiceStatus
from workers.settings import load
from workers.supervision import SupervisionFile


@pytest.fixture
def connection(queue: redis.Redis, queue_url: str, tmp_path: Path) -> Any:
    settings = load({"LOOKALIKE_HOME": str(tmp_path), "LOOKALIKE_REDIS_URL": queue_url})
    made: Any = QueueConnection(settings, is_interactive=True)
    made.app = SimpleNamespace(send_task=lambda *_, **__: None)  # nobody takes it anyway
    return made


def test_no_worker_at_all_is_told_with_the_number_of_photos(connection: Any, queue: redis.Redis) -> None:
    queue.set("lookalike:images", 1830)
    began = time.monotonic()
    with pytest.raises(Unavailable, match="the search engine does not answer; your 1,830 photos are safe"):
        RpcClient(connection).call("labels", {}, 10.0)
    assert time.monotonic() - began < 5  # 1.5 s where nothing else runs


def test_a_worker_that_is_started_again_is_said_to_be(connection: Any, tmp_path: Path) -> None:
    supervision = SupervisionFile(tmp_path, "lookalike up")
    supervision.write([ServiceStatus("worker", "ended", 1, "signal SIGKILL", time.time())])
    with pytest.raises(Unavailable, match="the search engine is restarting; your photos are safe") as caught:
        RpcClient(connection).call("labels", {}, 10.0)
    assert caught.value.hint == "this page goes on by itself"
    supervision.close()
