"""Copies are looked for by one job at a time, whoever asks how often."""

from pathlib import Path

import pytest
import redis

from workers.client import Busy, Client
from workers.client.connection import QueueConnection
from workers.settings import load


@pytest.fixture
def client(queue: redis.Redis, queue_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    # Celery knows no sockets of the file system, and the job's record is what counts here.
    monkeypatch.setattr(QueueConnection, "enqueue_due", lambda _self, _job: 0)
    return Client(load({"LOOKALIKE_HOME": str(tmp_path), "LOOKALIKE_REDIS_URL": queue_url}))


def test_whoever_asks_while_copies_are_looked_for_is_led_to_that_job(client: Client) -> None:
    job = client.duplicates.start(0.9)
    assert client.duplicates.start(0.9) == job
    with pytest.raises(Busy, match=job):
        client.duplicates.start(0.8)
    assert [running.job for running in client.running()] == [job]


def test_when_it_has_ended_the_next_one_begins(client: Client) -> None:
    job = client.duplicates.start(0.9)
    client.stop(job)
    assert client.duplicates.start(0.8) not in ("", job)
