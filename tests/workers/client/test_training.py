"""Runs that are started from outside a terminal: their job record tells how they end."""

import dataclasses
import os
import threading
import time

import pytest
from flask import Flask, request
from werkzeug.serving import make_server

from ml.errors import LookalikeError
from workers import settings
from workers.client.training import SILENT_S, Trainings
from workers.messages import TrainRequest
from workers.queue.jobs import Jobs


@pytest.fixture
def current(queue, queue_url, tmp_path):
    return dataclasses.replace(settings.load({"LOOKALIKE_HOME": str(tmp_path)}), redis_url=queue_url)


@pytest.fixture
def jobs(queue):
    return Jobs(queue)


def test_a_run_that_cannot_work_ends_failed_with_the_reason(current, jobs, tmp_path):
    trainings = Trainings(current, jobs)
    job = trainings.start(TrainRequest(str(tmp_path / "nowhere"), preset="fast"))
    *_, last = trainings.follow(job)
    assert last.state == "failed"
    assert "there is no" in last.detail["reason"]
    assert trainings.log(job).exists()


def test_stopping_a_run_ends_its_process(current, jobs, demo_photos):
    trainings = Trainings(current, jobs)
    job = trainings.start(TrainRequest(str(demo_photos), config={"epochs": 500, "train_px": 64, "test_px": 64}))
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


def test_a_run_without_a_heartbeat_counts_as_dead(current, jobs, queue):
    job = jobs.create("sweep", externally_driven=True)
    queue.hset(f"lookalike:job:{job}", "touched_at", time.time() - SILENT_S - 1)
    status = Trainings(current, jobs).status(job)
    assert status.state == "failed"
    assert "no heartbeat of its process for 60 s" in status.detail["reason"]


@pytest.fixture
def cluster(monkeypatch):
    """Ray's Jobs API, of which it notes what it is asked."""
    app, asked = Flask("cluster"), []

    @app.post("/api/jobs/")
    def submit():
        asked.append((request.get_json(), dict(request.headers)))
        return {"submission_id": request.get_json()["submission_id"]}

    server = make_server("127.0.0.1", 0, app)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", f"http://127.0.0.1:{server.server_port}")
    yield asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_with_a_cluster_a_run_is_a_job_of_it(current, jobs, cluster, tmp_path, monkeypatch):
    (tmp_path / "token").write_text("of-the-cluster\n")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    trainings = Trainings(dataclasses.replace(current, ray_address="trainer:6379"), jobs)
    job = trainings.start(TrainRequest("gallery", preset="fast"))
    ((submission, headers),) = cluster
    assert submission["submission_id"] == job
    assert submission["entrypoint"] == f"python -m workers.trainer {job}"
    assert TrainRequest.from_json(jobs.params(job)) == TrainRequest("gallery", preset="fast")
    environment = submission["runtime_env"]["env_vars"]
    assert environment["LOOKALIKE_REDIS_URL"] == current.redis_url
    assert "RAY_ADDRESS" not in environment
    assert headers["Authorization"] == "Bearer of-the-cluster"
    assert trainings.status(job).state == "running"


def test_a_cluster_that_does_not_answer_is_said_and_the_record_ends(current, jobs, monkeypatch):
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:9")
    trainings = Trainings(dataclasses.replace(current, ray_address="trainer:6379"), jobs)
    with pytest.raises(LookalikeError, match="takes no job"):
        trainings.start(TrainRequest("gallery"))
    assert jobs.running() == []


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
