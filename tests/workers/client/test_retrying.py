"""Trying again what a job has left undone."""

from types import SimpleNamespace
from typing import Any

import pytest
import redis

from workers.client import Busy, Client, Refused, can_retry, retry
from workers.client.training import Trainings
from workers.messages import SweepRequest, TrainRequest
from workers.settings import load


@pytest.fixture
def client(queue: redis.Redis, queue_url: str, tmp_path: Any) -> Client:
    return Client(load({"LOOKALIKE_HOME": str(tmp_path), "LOOKALIKE_REDIS_URL": queue_url}))


@pytest.fixture
def asked(client: Client, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Requests of trainings that were started."""
    requests: list[Any] = []
    monkeypatch.setattr(Trainings, "start", lambda _self, request: requests.append(request) or "train-2")
    return requests


def test_a_training_goes_on_after_what_it_finished(client: Client, asked: list[Any]) -> None:
    job = client.jobs.create("train", TrainRequest("gallery", preset="fast").to_json(), externally_driven=True)
    with pytest.raises(Busy):
        retry(client, job)
    client.stop(job)
    assert can_retry(client.job(job))
    retry(client, job)
    assert asked == [TrainRequest("gallery", preset="fast", resume=True)]


def test_a_sweep_goes_on_after_its_trials(client: Client, asked: list[Any]) -> None:
    job = client.jobs.create("sweep", SweepRequest(("gallery",)).to_json(), externally_driven=True)
    client.jobs.describe(job, {"sweep": "gallery-20261127-100000"})
    client.stop(job)
    retry(client, job)
    assert asked == [SweepRequest(("gallery",), resume="gallery-20261127-100000")]


def test_what_indexing_left_undone_is_done(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    repairs: list[Any] = []
    monkeypatch.setattr(Client, "verify", lambda _self, repair, *, quick: repairs.append((repair, quick)) or "verify-1")
    job = client.jobs.create("index")
    client.stop(job)
    assert retry(client, job) == "verify-1"
    assert repairs == [(True, True)]


@pytest.mark.parametrize(("is_confirmed", "is_preview"), [(False, True), (True, False)])
def test_a_preview_that_was_stopped_is_prepared_again_and_publishes_nothing(
    client: Client, monkeypatch: pytest.MonkeyPatch, is_confirmed: bool, is_preview: bool
) -> None:
    published: list[Any] = []
    monkeypatch.setattr(Client, "publish", lambda _self, model, **how: published.append((model, how)) or "publish-2")
    job = client.jobs.create("publish", externally_driven=True)
    client.jobs.set_params(job, {"model": "new", "force": False, "preview": True, "is_confirmed": is_confirmed})
    client.stop(job)
    retry(client, job)
    assert published == [("new", {"force": False, "preview": is_preview})]


def test_what_only_its_command_can_see_is_refused(client: Client) -> None:
    job = client.jobs.create("backup")
    client.stop(job)
    assert not can_retry(client.job(job))
    with pytest.raises(Refused, match="by the command that started it"):
        retry(client, job)


def test_what_has_gone_well_is_not_offered(client: Client) -> None:
    done: Any = SimpleNamespace(state="done", kind="index")
    assert not can_retry(done)
