"""What crosses the queue comes out as it went in."""

import json

from workers.messages import Failure, JobStatus, Result, SearchResult


def test_messages_survive_json() -> None:
    result = Result(1, "ab", "a.jpg", None, 0.9, 0.4, True)
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
