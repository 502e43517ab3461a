"""Searches wait in the order in which they came, with their photos, and one nudge is enough for all of them."""

import os
import threading
from typing import Any

import pytest
import redis

from tests.processes import wait_for
from workers.queue import questions as questions_module
from workers.queue.app import LONGEST_SEARCH_QUEUE
from workers.queue.questions import _ATTENDED, WAITING, Question, Questions, queue_lengths


@pytest.fixture
def questions(queue: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Questions:
    """Whose signs last longer than a test, however busy the machine is."""
    monkeypatch.setattr(questions_module, "_AT_WORK_MS", 600_000)
    monkeypatch.setattr(questions_module, "_NUDGED_MS", 600_000)
    return Questions(queue)


def question(number: int = 0, **request: Any) -> Question:
    return Question({"id": str(number), **request}, f"reply:{number}", 5.0, "r")


def test_a_photo_arrives_byte_for_byte_and_is_not_kept(questions: Questions, queue: redis.Redis) -> None:
    image = os.urandom(100_000)
    asked = question(image=image, more=[b"\x00", {"x": 0.5}])
    questions.ask(asked)
    ((read, waited_s),) = questions.take(10, 0.01)
    assert read == asked
    assert 0 <= waited_s < 60
    assert set(queue.keys()) <= {_ATTENDED}


def test_who_came_first_is_taken_first_and_no_more_than_wanted(questions: Questions) -> None:
    for number in range(5):
        questions.ask(question(number))
    taken = [[read.request["id"] for read, _ in questions.take(3, 0.01)] for _ in range(3)]
    assert taken == [["0", "1", "2"], ["3", "4"], []]


def test_a_nudge_that_still_waits_is_not_sent_again(questions: Questions) -> None:
    assert [questions.ask(question(number)) for number in range(3)] == [True, False, False]
    assert not questions.wants_nudge()


def test_whoever_took_looks_again_unless_that_takes_long(questions: Questions, queue: redis.Redis) -> None:
    for number in range(2):
        questions.ask(question(number))
    questions.take(1, 0.01)
    assert questions.ask(question(2)) is False
    assert 0 < queue.pttl(_ATTENDED) <= questions_module._AT_WORK_MS
    queue.pexpire(_ATTENDED, 1)  # its time is over
    wait_for(lambda: questions.wants_nudge())


def test_whoever_leaves_learns_of_those_that_nobody_attends_to(questions: Questions) -> None:
    questions.ask(question(0))
    questions.take(1, 0.01)
    assert not questions.leave(to_go_on=False)
    questions.ask(question(1))
    assert questions.leave(to_go_on=False)
    assert questions.ask(question(2)) is False, "a nudge is under way"


def test_after_a_turn_others_listen_next_as_long_as_anybody_asked_lately(questions: Questions) -> None:
    assert not questions.leave(to_go_on=True), "nobody has ever asked"
    questions.note_asked()
    assert questions.leave(to_go_on=True)
    assert questions.ask(question(0)) is False, "its nudge is under way"
    questions.take(1, 0.01)
    assert not questions.leave(to_go_on=False), "a worker that stops keeps no others listening"


def test_a_nudge_that_got_lost_is_noticed(questions: Questions, queue: redis.Redis) -> None:
    assert not questions.wants_nudge(), "nobody waits"
    questions.ask(question())
    assert 0 < queue.pttl(_ATTENDED) <= questions_module._NUDGED_MS
    queue.unlink(_ATTENDED)
    assert questions.wants_nudge()
    assert not questions.wants_nudge(), "one is enough"


def test_nobody_nudges_while_somebody_listens(questions: Questions, queue: redis.Redis) -> None:
    taken: list[Any] = []
    listener = threading.Thread(target=lambda: taken.extend(questions.take(4, 20.0)))
    listener.start()
    while not queue.exists(_ATTENDED):
        pass
    assert questions.ask(question(7)) is False
    listener.join(20)
    assert [read.request["id"] for read, _ in taken] == ["7"]


def test_too_many_are_told_so_and_are_not_taken_in(questions: Questions, queue: redis.Redis) -> None:
    for number in range(LONGEST_SEARCH_QUEUE):
        questions.ask(question(number))
    assert questions.ask(question()) is None
    assert questions.waiting() == LONGEST_SEARCH_QUEUE
    assert queue_lengths(queue) == {"search": LONGEST_SEARCH_QUEUE, "index": 0, "maintenance": 0}


def test_they_expire_when_nobody_waits_any_more(questions: Questions, queue: redis.Redis) -> None:
    questions.ask(Question({}, "a", 30.0))
    questions.ask(Question({}, "b", 2.0))
    assert 30_000 <= queue.pttl(WAITING) <= 31_000


def test_a_record_that_is_none_costs_itself_alone(questions: Questions, queue: redis.Redis) -> None:
    queue.rpush(WAITING, b"\xff not one of ours")
    questions.ask(question(1))
    assert [read.request["id"] for read, _ in questions.take(10, 0.01)] == ["1"]
