"""A worker that starts while something is away stays and says what it waits for."""

from pathlib import Path

import pytest
import redis

from ml.errors import LookalikeError
from workers import settings as settings_of
from workers.process.waiting import Waiting
from workers.queue.liveness import waiting_reasons
from workers.settings import BadSettings
from workers.store import StoreFailed


@pytest.fixture
def waiting(queue: redis.Redis, queue_url: str, tmp_path: Path) -> Waiting:
    return Waiting(settings_of.load({"LOOKALIKE_REDIS_URL": queue_url, "LOOKALIKE_HOME": str(tmp_path)}), "w")


def test_it_says_what_it_waits_for_until_that_is_back(waiting: Waiting, queue: redis.Redis) -> None:
    said: list[list[str]] = []

    def attempt() -> str:
        said.append(waiting_reasons(queue))
        if len(said) < 3:
            raise StoreFailed("the vector store does not answer", passes=True)
        return "open"

    assert waiting.until(attempt) == "open"
    assert said == [[], ["the vector store does not answer"], ["the vector store does not answer"]]
    assert waiting_reasons(queue) == []


def test_what_does_not_pass_is_raised_at_once(waiting: Waiting) -> None:
    def attempt() -> None:
        raise LookalikeError("another worker owns it")

    with pytest.raises(LookalikeError, match="another worker owns it"):
        waiting.until(attempt)


def test_a_wrong_password_is_not_waited_for(queue: redis.Redis, queue_url: str, tmp_path: Path) -> None:
    queue.config_set("requirepass", "right")
    try:
        waiting = Waiting(settings_of.load({"LOOKALIKE_REDIS_URL": queue_url, "LOOKALIKE_HOME": str(tmp_path)}), "w")
        with pytest.raises(BadSettings, match="the queue refuses us"):
            waiting.until_queue_answers()
    finally:
        queue.config_set("requirepass", "")
