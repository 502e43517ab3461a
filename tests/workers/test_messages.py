"""What crosses the queue comes out as it went in."""

import dataclasses
import json

import pytest

from ml.names import CollectionName, ModelName
from workers.messages import PHASES, Failure, JobStatus, Result, SearchResult
from workers.tasks import publish


def test_messages_survive_json() -> None:
    result = Result(1, "ab", "a.jpg", None, 0.9, 0.4, 0.8, "same")
    answer = SearchResult("model", "collection", (result, result), {"wait": 1.0})
    assert SearchResult.from_json(json.loads(json.dumps(answer.to_json()))) == answer
    status = JobStatus("j", "index", "done", 1, 1, 0, 0, 1, 0.5, failures=(Failure("a", "is empty"),))
    assert JobStatus.from_json(json.loads(json.dumps(status.to_json()))) == status


def test_what_a_newer_process_adds_is_ignored() -> None:
    assert Failure.from_json({"path": "a", "reason": "b", "colour": "red"}) == Failure("a", "b")


def test_a_job_is_finished_when_it_is_not_running() -> None:
    status = JobStatus("j", "index", "running", 1, 0, 0, 0, 0, 0.5)
    assert not status.is_finished
    assert JobStatus.from_json(status.to_json() | {"state": "stopped"}).is_finished


def test_every_step_of_a_publish_is_told_in_words() -> None:
    assert set(publish._STEPS) == set(PHASES)
    status = JobStatus("j", "publish", "running", 0, 0, 0, 0, 0, 0.5, detail={"phase": "check"})
    assert status.doing == "checking it"
    assert dataclasses.replace(status, state="failed").doing == "failed"
    assert dataclasses.replace(status, detail={"phase": "reading features"}).doing == "reading features"


def test_checked_names_travel_as_text() -> None:
    answer = SearchResult(ModelName("m"), CollectionName("c"), ())
    assert SearchResult.from_json(json.loads(json.dumps(answer.to_json()))) == answer
    assert type(answer.to_json()["model"]) is str


def test_what_is_no_message_is_refused() -> None:
    with pytest.raises(ValueError, match="reason"):
        Failure.from_json({"path": "a"})
