"""A training in a terminal is among the jobs of the system that runs."""

from pathlib import Path
from typing import Any

import pytest
import redis

from deploy.cli.recorded_run import recorded
from workers.messages import TrainRequest
from workers.queue.jobs import Jobs
from workers.settings import Settings, load
from workers.trainer.report import Report


class Shown(Report):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def current(queue: redis.Redis, queue_url: str, tmp_path: Path) -> Settings:
    return load({"LOOKALIKE_HOME": str(tmp_path), "LOOKALIKE_REDIS_URL": queue_url})


def test_it_is_a_job_that_tells_the_same(current: Settings, queue: redis.Redis) -> None:
    shown, jobs = Shown(), Jobs(queue)
    with recorded(current, TrainRequest("photos"), shown) as report:
        report.say("epoch 1")
        report.step("registering the model")
        (job,) = jobs.running()
        assert jobs.status(job).doing == "registering the model"
        report.registered("lemons-1")
        assert jobs.status(job).detail["model"] == "lemons-1"
        assert TrainRequest.from_json(jobs.params(job)) == TrainRequest("photos")
    assert shown.lines == ["epoch 1"]
    assert jobs.status(job).state == "done"


def test_one_that_fails_says_why_in_its_record(current: Settings, queue: redis.Redis) -> None:
    with pytest.raises(RuntimeError), recorded(current, TrainRequest("photos"), Shown()):
        (job,) = Jobs(queue).running()
        raise RuntimeError("no memory")
    assert "no memory" in Jobs(queue).status(job).detail["reason"]


def test_another_one_under_way_is_noted(current: Settings, queue: redis.Redis) -> None:
    other, shown = Jobs(queue).create("train", externally_driven=True), Shown()
    with recorded(current, TrainRequest("photos"), shown):
        assert shown.lines == [f"note: another training is under way ({other}); both are slower"]


def test_without_a_running_system_there_is_no_record(tmp_path: Any) -> None:
    shown = Shown()
    with recorded(load({"LOOKALIKE_HOME": str(tmp_path)}), TrainRequest("photos"), shown) as report:
        assert report is shown
