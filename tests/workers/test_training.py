"""Runs that are started from outside a terminal: their job record tells how they end."""

import dataclasses
import os
import time

import pytest

from ml.errors import LookalikeError
from workers import settings
from workers.jobs import Jobs
from workers.training import SILENT_S, Trainings, reporting_to


@pytest.fixture
def current(queue, queue_url, tmp_path):
    return dataclasses.replace(settings.load({"LOOKALIKE_HOME": str(tmp_path)}), redis_url=queue_url)


@pytest.fixture
def jobs(queue):
    return Jobs(queue)


def test_a_run_that_cannot_work_ends_failed_with_the_reason(current, jobs, tmp_path):
    trainings = Trainings(current, jobs)
    job = trainings.start("train", [str(tmp_path / "nowhere"), "--preset", "fast"])
    *_, last = trainings.follow(job)
    assert last.state == "failed"
    assert "there is no" in last.detail["reason"]
    assert trainings.log(job).exists()


def test_stopping_a_run_ends_its_process(current, jobs, demo_photos):
    trainings = Trainings(current, jobs)
    job = trainings.start("train", [str(demo_photos), "--epochs", "500", "--train-px", "64", "--test-px", "64"])
    for status in trainings.follow(job):
        if pid := status.detail.get("pid"):
            trainings.stop(job)
            break
    assert trainings.status(job).state == "stopped"
    deadline = time.monotonic() + 120
    while _is_running(pid):
        assert time.monotonic() < deadline, "the process goes on"
        time.sleep(0.1)
    assert trainings.status(job).state == "stopped"


def test_a_block_that_ends_well_ends_the_record_so(current, jobs):
    job = jobs.create("train", conducted=True)
    with reporting_to(current, job) as tell:
        tell({"phase": "training", "done": 3, "total": 12, "map@r": 0.5})
        status = jobs.status(job)
        assert (status.done, status.total, status.detail["map@r"]) == (3, 12, 0.5)
    assert jobs.status(job).state == "done"


def test_a_block_that_fails_says_why(current, jobs):
    job = jobs.create("train", conducted=True)
    with pytest.raises(LookalikeError), reporting_to(current, job):
        raise LookalikeError("the disk is full")
    assert jobs.status(job).state == "failed"
    assert jobs.status(job).detail["reason"] == "the disk is full"


def test_a_run_without_a_sign_of_life_counts_as_dead(current, jobs, queue):
    job = jobs.create("sweep", conducted=True)
    queue.hset(f"lookalike:job:{job}", "touched_at", time.time() - SILENT_S - 1)
    status = Trainings(current, jobs).status(job)
    assert status.state == "failed"
    assert "no sign of life" in status.detail["reason"]


def test_only_trainings_and_sweeps_can_be_started_and_not_with_our_own_options(current, jobs):
    trainings = Trainings(current, jobs)
    with pytest.raises(LookalikeError, match="no 'delete'"):
        trainings.start("delete", [])
    with pytest.raises(LookalikeError, match="--job"):
        trainings.start("train", ["gallery", "--job=other"])
    assert jobs.running() == []


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
