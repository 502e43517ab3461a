"""One training at a time: the next one waits, and begins when the one before has ended, whoever notices."""

import dataclasses
from pathlib import Path

import pytest
import redis

from workers import settings as settings_of
from workers.client.training import SILENT_S, WAITING, Trainings
from workers.messages import SweepRequest, TrainRequest
from workers.queue.jobs import Jobs


class Spawned(Trainings):
    """Notes which runs begin, instead of starting processes."""

    begun: list[str]

    def _spawn(self, job: str) -> None:
        self.begun.append(job)


@pytest.fixture
def trainings(queue: redis.Redis, queue_url: str, tmp_path: Path) -> Spawned:
    current = dataclasses.replace(settings_of.load({"LOOKALIKE_HOME": str(tmp_path)}), redis_url=queue_url)
    made = Spawned(current, Jobs(queue))
    made.begun = []
    return made


def test_a_second_start_waits_for_the_first_and_says_so(trainings: Spawned, queue: redis.Redis) -> None:
    first = trainings.start(TrainRequest("gallery"))
    second = trainings.start(SweepRequest(("gallery",)))
    third = trainings.start(TrainRequest("gallery"))
    assert trainings.begun == [first]
    assert trainings.status(second).doing == f"{WAITING}: another training is under way"
    Jobs(queue).end(first, "done")
    trainings.advance()
    assert trainings.begun == [first, second]
    assert trainings.status(third).doing == f"{WAITING}: another training is under way"


def test_who_looks_at_a_run_that_waits_begins_it_when_nobody_else_does(trainings: Spawned, queue: redis.Redis) -> None:
    first, second = trainings.start(TrainRequest("gallery")), trainings.start(TrainRequest("gallery"))
    queue.hset(f"lookalike:job:{first}", "touched_at", 0)  # killed, and with it whoever watched it
    queue.hset(f"lookalike:job:{second}", "touched_at", 0)  # waiting is no silence
    assert trainings.status(second).doing == "starting"
    assert trainings.begun == [first, second]
    assert f"no heartbeat of its process for {SILENT_S:.0f} s" in trainings.status(first).detail["reason"]


def test_one_that_is_stopped_while_it_waits_never_begins(trainings: Spawned, queue: redis.Redis) -> None:
    first, second = trainings.start(TrainRequest("gallery")), trainings.start(TrainRequest("gallery"))
    trainings.stop(second)
    assert trainings.status(second).state == "stopped"
    trainings.stop(first)
    trainings.advance()
    assert trainings.begun == [first]


def test_one_that_a_terminal_started_is_waited_for(trainings: Spawned, queue: redis.Redis) -> None:
    other = Jobs(queue).create("train", externally_driven=True)
    job = trainings.start(TrainRequest("gallery"))
    assert trainings.begun == []
    Jobs(queue).end(other, "done")
    assert trainings.status(job).doing == "starting"
