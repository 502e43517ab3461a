"""A run's job record tells how far it is and how it ended, and ending the record ends the run."""

import dataclasses
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from ml.errors import LookalikeError
from workers import settings
from workers.queue.jobs import Jobs
from workers.settings import Settings
from workers.trainer import job_report
from workers.trainer.job_report import JobReport, reporting_to


@pytest.fixture
def jobs(queue: redis.Redis) -> Jobs:
    return Jobs(queue)


@pytest.fixture
def job(jobs: Jobs) -> str:
    return jobs.create("train", externally_driven=True)


@pytest.fixture
def current(queue_url: str, tmp_path: Any) -> Settings:
    return dataclasses.replace(settings.load({"LOOKALIKE_HOME": str(tmp_path)}), redis_url=queue_url)


def test_a_run_that_ends_well_ends_the_record_so(jobs: Jobs, job: str) -> None:
    with reporting_to(jobs, job) as report:
        report.update(3, 12, phase="training", figure=0.5)
        status = jobs.status(job)
        assert (status.done, status.total, status.detail["figure"]) == (3, 12, 0.5)
    status = jobs.status(job)
    assert (status.state, status.done, status.total) == ("done", 3, 12)


def test_a_run_that_fails_says_why(jobs: Jobs, job: str) -> None:
    with pytest.raises(LookalikeError), reporting_to(jobs, job):
        raise LookalikeError("the disk is full")
    assert jobs.status(job).state == "failed"
    assert jobs.status(job).detail["reason"] == "the disk is full"


def test_epochs_and_phases_are_in_the_record(jobs: Jobs, job: str) -> None:
    report = JobReport(jobs, job)
    report.progress("decoding", 1, 48)
    assert jobs.status(job).detail["phase"] == "decoding"
    epoch: Any = SimpleNamespace(epoch=2, epochs=6, map_at_r=0.7, loss=1.5, seconds_left=12.4)
    report.epoch(epoch)
    epoch.map_at_r = float("nan")
    assert (jobs.status(job).done, jobs.status(job).total) == (2, 6)
    assert jobs.status(job).detail["held_out_map@r"] == 0.7
    report.epoch(epoch)
    status = jobs.status(job)
    assert status.detail["held_out_map@r"] is None
    assert [point["loss"] for point in status.detail["curve"]] == [1.5, 1.5]
    assert status.left_s == 12


def test_how_far_a_phase_is_stands_in_the_record_and_goes_with_it(
    jobs: Jobs, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    report, now = JobReport(jobs, job), [100.0]
    monkeypatch.setattr(job_report.time, "monotonic", lambda: now[0])
    for done in (1, 2):
        report.progress("reading views", done, 90)
    assert jobs.status(job).doing == "reading views, 1 of 90", "not every photo is worth a message"
    now[0] += 2
    report.progress("reading views", 64, 90)
    assert jobs.status(job).counted == (64, 90)
    report.progress("decoding", 0, 1_200)
    assert jobs.status(job).doing == "decoding, 0 of 1,200"
    report.step("registering the model")
    report.registered("lemons-1")
    status = jobs.status(job)
    assert (status.doing, status.detail["model"]) == ("registering the model", "lemons-1")


def test_a_long_curve_is_thinned_and_keeps_its_end(jobs: Jobs, job: str) -> None:
    report = JobReport(jobs, job)
    for n in range(1, 351):
        report.epoch(SimpleNamespace(epoch=n, epochs=350, map_at_r=0.7, loss=1 / n, seconds_left=0))  # type: ignore[arg-type]
    curve = jobs.status(job).detail["curve"]
    assert len(curve) <= 100
    assert curve[-1]["epoch"] == 350


def test_trials_are_in_the_record_with_the_best_so_far(jobs: Jobs, job: str, tmp_path: Any) -> None:
    trials = {str(n): SimpleNamespace(state=state) for n, state in enumerate(("done", "failed", "running"))}
    best = SimpleNamespace(done=1, settings={"lr": 1e-3}, map_at_r=0.8, is_complete=True)
    ranked = [best, SimpleNamespace(done=0, is_complete=False)]
    record: Any = SimpleNamespace(
        trials=trials,
        configurations=lambda: ranked,
        directory=tmp_path / "grocery",
        is_measurement=lambda trial: False,
    )
    plan: Any = SimpleNamespace(trials=4, repeats=2)
    JobReport(jobs, job).trials(record, plan)
    status = jobs.status(job)
    assert (status.done, status.total) == (2, 8)
    assert status.detail["best"] == {"settings": {"lr": 1e-3}, "map@r": 0.8}
    assert status.detail["sweep"] == "grocery"


def test_a_record_that_somebody_ended_stays_as_it_is(jobs: Jobs, job: str) -> None:
    with reporting_to(jobs, job) as report:
        jobs.end(job, "stopped")
        report.update(phase="training")
    assert jobs.status(job).state == "stopped"
    assert jobs.status(job).detail["phase"] == "reading"


def test_a_run_that_is_done_is_not_interrupted_because_its_record_has_ended(
    jobs: Jobs, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = jobs.end

    def and_then_wait(*args: Any) -> bool:
        was_running = end(*args)
        time.sleep(0.3)  # thirty beats
        return was_running

    monkeypatch.setattr(job_report, "_BEAT_S", 0.01)
    monkeypatch.setattr(jobs, "end", and_then_wait)
    with reporting_to(jobs, job):
        pass
    assert jobs.status(job).state == "done"


def test_a_run_ends_when_the_queue_stays_away(current: Settings) -> None:
    """It would count as dead by then; nobody could follow or stop it."""
    code = f"""
import time
import redis
from workers import settings
from workers.queue.app import connect_redis
from workers.queue.jobs import Jobs
from workers.trainer import job_report

class QueueThatGoesAway(Jobs):
    is_away = False

    def touch(self, job):
        if self.is_away:
            raise redis.ConnectionError("away")

job_report.SILENT_S, job_report._BEAT_S = 0.5, 0.1
jobs = QueueThatGoesAway(connect_redis(settings.load({current.environment()!r})))
with job_report.reporting_to(jobs, jobs.create("train", externally_driven=True)):
    jobs.is_away = True
    time.sleep(60)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert ended.returncode != 0
    assert "KeyboardInterrupt" in ended.stderr
