"""The training service performs what a portal without PyTorch puts into the queue, one at a time."""

import dataclasses
import importlib.util
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.processes import wait_for
from workers import settings as settings_of
from workers.client.training import Trainings
from workers.errors import Refused
from workers.messages import TrainRequest
from workers.queue import training_queue
from workers.queue.jobs import Jobs
from workers.settings import Settings
from workers.trainer.service import TrainingService


@pytest.fixture
def current(queue: redis.Redis, queue_url: str, tmp_path: Path) -> Settings:
    return dataclasses.replace(settings_of.load({"LOOKALIKE_HOME": str(tmp_path)}), redis_url=queue_url)


@pytest.fixture
def portal(current: Settings, queue: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Trainings:
    """Trainings as a portal without PyTorch starts them."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    return Trainings(current, Jobs(queue))


@pytest.fixture
def service(current: Settings, queue: redis.Redis) -> Iterator[TrainingService]:
    made = TrainingService(current, queue)
    thread = threading.Thread(target=made.run)
    thread.start()
    wait_for(lambda: training_queue.lives(queue))
    yield made
    made.stop()
    thread.join(30)
    assert not thread.is_alive()


def test_without_a_service_a_portal_without_torch_says_what_to_start(portal: Trainings) -> None:
    assert not portal.can_start()
    with pytest.raises(Refused) as refused:
        portal.start(TrainRequest("gallery"))
    assert "lookalike trainer" in refused.value.hint


def test_it_performs_what_a_portal_starts(
    portal: Trainings, service: TrainingService, current: Settings, queue: redis.Redis
) -> None:
    assert portal.can_start()
    job = portal.start(TrainRequest("/nowhere", preset="fast"))
    *_, last = portal.follow(job)
    assert last.state == "failed"
    assert "there is no" in last.detail["reason"]
    assert "there is no" in portal.log(job).read_text()


def test_what_was_stopped_while_it_waited_is_not_begun(
    portal: Trainings, current: Settings, queue: redis.Redis
) -> None:
    training_queue.record_trainer(queue)
    stopped = portal.start(TrainRequest("/nowhere", preset="fast"))
    portal.stop(stopped)
    waiting = portal.start(TrainRequest("/nowhere", preset="fast"))
    service = TrainingService(current, queue)
    thread = threading.Thread(target=service.run)
    thread.start()
    *_, last = portal.follow(waiting)
    service.stop()
    thread.join(30)
    assert last.state == "failed"
    assert portal.status(stopped).state == "stopped"
    assert not portal.log(stopped).exists()
    assert not training_queue.lives(queue)
