"""Searches of the client: nudged once, asked again when they got lost, refused when too many wait."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from workers import settings as settings_of
from workers.client import rpc
from workers.client.connection import QueueConnection
from workers.client.rpc import RpcClient
from workers.errors import Overloaded, Unavailable
from workers.queue import replies
from workers.queue.app import LONGEST_SEARCH_QUEUE
from workers.queue.liveness import worker_key
from workers.queue.questions import Question, Questions


class Calls:
    """A client whose nudges are noted and go nowhere."""

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        connection = QueueConnection(settings_of.load({"LOOKALIKE_REDIS_URL": url}))
        connection.block_s = 0.05
        self.nudges: list[str] = []
        connection.app = SimpleNamespace(send_task=lambda name, **_: self.nudges.append(name))  # type: ignore[assignment]
        monkeypatch.setattr(rpc, "_LOST_S", 0.1)
        self.client = RpcClient(connection)


@pytest.fixture
def calls(queue_url: str, queue: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(queue_url, monkeypatch)


def searching(calls: Calls, found: list[Any]) -> threading.Thread:
    thread = threading.Thread(target=lambda: found.append(calls.client.search({"image": b"photo"}, 60.0)))
    thread.start()
    return thread


def take_one(queue: redis.Redis) -> Question:
    while not (taken := Questions(queue).take(1, 1.0)):
        pass
    return taken[0][0]


def test_a_search_that_got_lost_with_its_worker_is_asked_again(calls: Calls, queue: redis.Redis) -> None:
    found: list[Any] = []
    thread = searching(calls, found)
    lost, again = take_one(queue), take_one(queue)
    assert lost == again
    replies.send(queue, again.reply_to, {"results": []})
    thread.join(60)
    assert found == [{"results": []}]


def test_a_nudge_that_got_lost_is_sent_again(calls: Calls, queue: redis.Redis) -> None:
    found: list[Any] = []
    thread = searching(calls, found)
    while len(calls.nudges) < 2:  # the first counts for a second
        assert thread.is_alive()
    replies.send(queue, take_one(queue).reply_to, 1)
    thread.join(60)
    assert calls.nudges[:2] == 2 * ["answer_searches"]
    assert found == [1]


def test_one_too_many_is_told_to_come_again(calls: Calls, queue: redis.Redis) -> None:
    for _ in range(LONGEST_SEARCH_QUEUE):
        Questions(queue).ask(Question({}, "", 60.0))
    with pytest.raises(Overloaded, match="too many searches are waiting"):
        calls.client.search({"image": None}, 60.0)


def test_without_an_answer_in_time_it_is_unavailable(calls: Calls, queue: redis.Redis) -> None:
    queue.set(worker_key("w"), "{}")
    with pytest.raises(Unavailable, match="no answer within 0 s"):
        calls.client.search({"image": None}, 0.2)
