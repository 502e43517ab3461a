"""Images that end their worker are found, put aside and reported; everything else of their chunk goes on."""

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery import Celery

from ml.errors import LookalikeError
from tests.workers.dying import Killed, run, start
from workers.errors import NotFound
from workers.queue.jobs import CHUNK, MAX_ATTEMPTS, Jobs
from workers.queue.liveness import server_time, worker_key
from workers.tasks import chunks, handlers
from workers.tasks.context import Context
from workers.tasks.reconcile import Outcome

POISON = f"{13:032x}"


@pytest.fixture
def context(queue: redis.Redis) -> Context:
    queue.set(worker_key("w"), "{}")

    def image(id: str) -> Any:
        raise NotFound("not here")

    gallery = SimpleNamespace(image=image, forget=lambda id: None, sweep=lambda id: None)
    serving: Any = SimpleNamespace(gallery=gallery, settings=SimpleNamespace(concurrency=16))
    heartbeat: Any = SimpleNamespace(worker="w", beat=lambda: None)
    return Context(Celery(set_as_current=False), queue, Jobs(queue), serving, heartbeat)


def test_an_image_that_kills_its_worker_is_put_aside(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    deaths: list[str] = []

    def reconcile(serving: Any, ids: tuple[str, ...], target: Any = None, **_: Any) -> Outcome:
        if POISON in ids:
            deaths.append(POISON)
            raise Killed
        return Outcome({"added": len(ids)})

    monkeypatch.setattr(chunks, "reconcile", reconcile)
    job = start(context.jobs, [f"{n:032x}" for n in range(40)])
    run(context, job)
    status = context.jobs.status(job)
    assert (status.state, status.total, status.done, status.added, status.failed) == ("done", 40, 40, 39, 1)
    assert status.failures[0].path == POISON
    assert "put aside" in status.failures[0].reason
    assert len(deaths) == 2 * MAX_ATTEMPTS  # in its chunk, then alone


def test_an_image_on_which_our_code_fails_is_reported_with_the_error(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reconcile(serving: Any, ids: tuple[str, ...], target: Any = None, **_: Any) -> Outcome:
        if POISON in ids:
            raise ZeroDivisionError("division by zero")
        return Outcome({"added": len(ids)})

    monkeypatch.setattr(chunks, "reconcile", reconcile)
    job = start(context.jobs, [f"{n:032x}" for n in range(40)])
    run(context, job)
    status = context.jobs.status(job)
    assert (status.added, status.failed, status.done) == (39, 1, 40)
    assert "division by zero" in status.failures[0].reason


def test_a_store_that_is_away_costs_no_attempt(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def reconcile(serving: Any, ids: tuple[str, ...], target: Any = None, **_: Any) -> Outcome:
        calls.append(len(ids))
        if len(calls) <= 3 * MAX_ATTEMPTS:
            raise LookalikeError("the Qdrant server does not answer", passes=True)
        return Outcome({"added": len(ids)})

    monkeypatch.setattr(chunks, "reconcile", reconcile)
    job = start(context.jobs, [f"{n:032x}" for n in range(10)])
    run(context, job)
    status = context.jobs.status(job)
    assert (status.added, status.failed) == (10, 0)


def test_what_does_not_pass_ends_the_job_at_once_with_its_reason(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def reconcile(serving: Any, ids: tuple[str, ...], target: Any = None, **_: Any) -> Outcome:
        calls.append(len(ids))
        raise LookalikeError("the storage refused the keys", hint="check them")

    monkeypatch.setattr(chunks, "reconcile", reconcile)
    job = start(context.jobs, [f"{n:032x}" for n in range(10)])
    run(context, job)
    status = context.jobs.status(job)
    assert (status.state, len(calls)) == ("failed", 1)
    assert status.detail["reason"] == "the storage refused the keys"


def test_what_passes_is_not_waited_for_longer_than_the_limit(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    def reconcile(serving: Any, ids: tuple[str, ...], target: Any = None, **_: Any) -> Outcome:
        raise LookalikeError("the Qdrant server does not answer", passes=True)

    monkeypatch.setattr(chunks, "reconcile", reconcile)
    monkeypatch.setattr("workers.tasks.waiting.LONGEST_WAIT_S", 0.0)
    job = start(context.jobs, ["a"])
    run(context, job)
    status = context.jobs.status(job)
    assert status.state == "failed"
    assert "does not answer" in status.detail["reason"]


class TestTurns:
    """A worker that has finished a chunk goes on with the next; messages are for whoever has none."""

    @pytest.fixture
    def sent(self, context: Context, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        sent: list[int] = []
        monkeypatch.setattr(context.app, "send_task", lambda name, args, queue: sent.append(args[1]))
        context.redis.zadd("lookalike:workers", {"w": time.time()})
        handlers.register(context)
        return sent

    @pytest.fixture
    def done(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        done: list[int] = []

        def reconcile(serving: Any, ids: tuple[str, ...], target: Any = None, **_: Any) -> Outcome:
            done.append(len(ids))
            return Outcome({"added": len(ids)})

        monkeypatch.setattr(chunks, "reconcile", reconcile)
        return done

    def test_one_message_is_enough_for_a_whole_job(self, context: Context, sent: list[int], done: list[int]) -> None:
        job = start(context.jobs, [f"{n:032x}" for n in range(5 * CHUNK)])
        (first, _) = context.jobs.due(job, width=2)
        context.app.tasks["work_on_chunk"](job, first)
        assert done == [CHUNK] * 4  # the second one's message lies in the queue
        assert sent == []

    def test_a_worker_that_shuts_down_leaves_the_rest_to_others(
        self, context: Context, sent: list[int], done: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(handlers.state, "should_stop", 0)
        job = start(context.jobs, [f"{n:032x}" for n in range(3 * CHUNK)])
        (first,) = context.jobs.due(job, width=1)
        context.app.tasks["work_on_chunk"](job, first)
        assert done == [CHUNK]
        assert len(sent) == 2

    def test_a_worker_with_its_share_in_hand_leaves_the_next_chunk_to_others(
        self, context: Context, sent: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        context.redis.zadd("lookalike:workers", {"another": time.time()})
        job = start(context.jobs, [f"{n:032x}" for n in range(4 * CHUNK)])
        numbers = context.jobs.due(job, width=3)
        holding, are_held = threading.Event(), threading.Barrier(3)

        def reconcile(serving: Any, ids: tuple[str, ...], target: Any = None, **_: Any) -> Outcome:
            are_held.wait(10)
            if threading.current_thread() is not threading.main_thread():
                assert holding.wait(10)
            return Outcome({"added": len(ids)})

        monkeypatch.setattr(chunks, "reconcile", reconcile)
        work = context.app.tasks["work_on_chunk"]
        threads = [threading.Thread(target=work, args=(job, number)) for number in numbers[:2]]
        for thread in threads:
            thread.start()
        work(job, numbers[2])
        assert len(sent) == 1
        monkeypatch.setattr(chunks, "reconcile", lambda *_, **__: Outcome({"added": CHUNK}))
        holding.set()
        for thread in threads:
            thread.join()


def test_steps_that_need_not_wait_for_one_another_follow_at_once(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would wait for the next round of housekeeping: a publish took as many times two seconds."""
    handlers.register(context)
    job = context.jobs.create("publish", externally_driven=True)
    further = [True, True, False, True]
    monkeypatch.setattr(handlers, "advance", lambda *_: further.pop(0))
    context.app.tasks["advance_publish"].run(job, server_time(context.redis))
    assert further == [True]


def test_a_step_that_took_longer_than_its_lock_is_the_last_of_its_turn(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker may be at the next one by now."""
    handlers.register(context)
    job = context.jobs.create("publish", externally_driven=True)
    taken: list[str] = []

    def advance(*_: Any) -> bool:
        taken.append(job)
        context.redis.delete(f"lookalike:advancing:{job}")  # as it expires
        return True

    monkeypatch.setattr(handlers, "advance", advance)
    context.app.tasks["advance_publish"].run(job, server_time(context.redis))
    assert taken == [job]
