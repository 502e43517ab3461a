"""A job's record is exact, whatever the broker delivers twice, late or never."""

import json
import random
import time

import pytest
import redis

from workers.errors import JobEnded, NotFound
from workers.messages import Failure
from workers.queue.jobs import CHUNK, Jobs
from workers.queue.liveness import server_time, worker_key


@pytest.fixture
def jobs(queue: redis.Redis) -> Jobs:
    for worker in ("a", "b"):
        queue.set(worker_key(worker), "{}")
    return Jobs(queue)


def make(jobs: Jobs, items: int, kind: str = "index") -> str:
    job = jobs.create(kind)
    jobs.append(job, [f"{n:032x}" for n in range(items)])
    jobs.seal(job)
    return job


def run(jobs: Jobs, job: str, worker: str = "a") -> None:
    while due := jobs.due(job, width=4):
        for number in due:
            chunk = jobs.claim(job, number, worker)
            assert chunk is not None
            jobs.finish(chunk, {"added": len(chunk.items), "done": len(chunk.items)})


def test_a_job_ends_when_its_last_chunk_is_finished(jobs: Jobs) -> None:
    job = make(jobs, 3 * CHUNK + 1)
    assert jobs.status(job).state == "running"
    assert job in jobs.running()
    run(jobs, job)
    status = jobs.status(job)
    assert (status.state, status.total, status.done, status.added) == ("done", 193, 193, 193)
    assert job not in jobs.running()


def test_an_empty_job_is_done_at_once(jobs: Jobs) -> None:
    assert jobs.status(make(jobs, 0)).state == "done"


def test_a_job_that_is_still_being_filled_does_not_end(jobs: Jobs) -> None:
    job = jobs.create("index")
    jobs.append(job, ["x"])
    run(jobs, job)
    assert jobs.status(job).state == "running"
    jobs.seal(job)
    assert jobs.status(job).state == "done"


def test_a_job_whose_filler_died_is_sealed_by_the_housekeeping(jobs: Jobs) -> None:
    job = jobs.create("index")
    jobs.append(job, ["x"])
    run(jobs, job)
    jobs.seal_abandoned(job, after_s=60)
    assert jobs.status(job).state == "running"
    jobs.seal_abandoned(job, after_s=-1)
    assert jobs.status(job).state == "done"


def test_a_chunk_is_counted_once_however_often_it_is_finished(jobs: Jobs) -> None:
    job = make(jobs, 10)
    (number,) = jobs.due(job, width=4)
    chunk = jobs.claim(job, number, "a")
    assert chunk is not None
    assert jobs.finish(chunk, {"added": 9, "failed": 1, "done": 10}, [Failure("x.jpg", "is empty")])
    assert not jobs.finish(chunk, {"added": 9, "failed": 1, "done": 10}, [Failure("x.jpg", "is empty")])
    status = jobs.status(job)
    assert (status.added, status.failed, status.failures) == (9, 1, (Failure("x.jpg", "is empty"),))


def test_only_a_few_chunks_are_under_way_at_a_time(jobs: Jobs) -> None:
    job = make(jobs, 10 * CHUNK)
    assert len(jobs.due(job, width=3)) == 3
    assert jobs.due(job, width=3) == []


def test_a_chunk_of_a_living_worker_is_not_given_to_another(jobs: Jobs) -> None:
    job = make(jobs, 5)
    (number,) = jobs.due(job, width=1)
    assert jobs.claim(job, number, "a") is not None
    assert jobs.claim(job, number, "b") is None
    assert jobs.due(job, width=5) == []


def test_a_chunk_of_a_dead_worker_is_due_again(jobs: Jobs, queue: redis.Redis) -> None:
    job = make(jobs, 5)
    (number,) = jobs.due(job, width=1)
    assert jobs.claim(job, number, "a") is not None
    queue.delete(worker_key("a"))
    assert jobs.due(job, width=1) == [number]
    again = jobs.claim(job, number, "b")
    assert again is not None
    assert again.attempt == 2


def test_a_redelivered_message_of_a_finished_chunk_is_ignored(jobs: Jobs) -> None:
    job = make(jobs, 5)
    (number,) = jobs.due(job, width=1)
    chunk = jobs.claim(job, number, "a")
    assert chunk is not None
    jobs.finish(chunk, {"done": 5})
    assert jobs.claim(job, number, "a") is None


def test_a_released_chunk_is_due_after_its_pause(jobs: Jobs) -> None:
    job = make(jobs, 5)
    (number,) = jobs.due(job, width=1)
    chunk = jobs.claim(job, number, "a")
    assert chunk is not None
    jobs.release(chunk, pause_s=60)
    assert jobs.due(job, width=1) == []
    jobs.release(chunk, pause_s=-1)
    assert jobs.due(job, width=1) == [number]
    again = jobs.claim(job, number, "a")
    assert again is not None
    assert again.attempt == 2


def test_a_chunk_that_waits_is_put_off_for_longer_each_time_and_no_attempt_counts(
    jobs: Jobs, queue: redis.Redis
) -> None:
    job = make(jobs, 5)
    (number,) = jobs.due(job, width=1)
    pauses = []
    for _ in range(6):
        chunk = jobs.claim(job, number, "a")
        assert chunk is not None
        assert chunk.attempt == 1
        waited_s = jobs.postpone(chunk, "the store is away")
        due_at = queue.zscore(f"lookalike:job:{job}:leases", str(number))
        pauses.append(round(due_at - server_time(queue)))
    assert pauses == [3, 6, 12, 24, 48, 60]
    assert waited_s < 60
    assert jobs.status(job).detail["waits_for"] == "the store is away"
    assert jobs.waiting() == {job: "the store is away"}
    chunk = jobs.claim(job, number, "a")
    assert chunk is not None
    jobs.finish(chunk, {"done": 5})
    assert "waits_for" not in jobs.status(job).detail
    assert jobs.waiting() == {}


def test_a_filler_that_was_silent_opens_its_job_again(jobs: Jobs) -> None:
    """As after Ctrl-Z for longer than housekeeping waits."""
    job = jobs.create("index")
    jobs.append(job, ["x"])
    run(jobs, job)
    jobs.seal_abandoned(job, after_s=-1)
    assert jobs.status(job).state == "done"
    jobs.append(job, ["y"])
    assert jobs.status(job).state == "running"
    assert job in jobs.running()
    run(jobs, job)
    assert jobs.status(job).state == "running"
    jobs.seal(job)
    status = jobs.status(job)
    assert (status.state, status.total, status.added) == ("done", 2, 2)


def test_a_filler_that_was_silent_goes_on_in_a_job_that_still_runs(jobs: Jobs) -> None:
    job = jobs.create("index")
    jobs.append(job, ["x"])
    jobs.seal_abandoned(job, after_s=-1)
    jobs.append(job, ["y"])
    run(jobs, job)
    assert jobs.status(job).state == "running"


def test_a_job_ends_once(jobs: Jobs) -> None:
    job = jobs.create("index")
    jobs.append(job, ["x"])
    assert jobs.end(job, "stopped", {"phase": "reading"})
    assert not jobs.end(job, "failed", {"reason": "there is no collection photos"})
    status = jobs.status(job)
    assert (status.state, status.detail) == ("stopped", {"phase": "reading"})
    assert not jobs.end("index-0", "failed")


@pytest.mark.parametrize("state", ["stopped", "failed"])
def test_nothing_is_appended_to_a_job_that_has_ended(jobs: Jobs, state: str) -> None:
    job = jobs.create("index")
    jobs.end(job, state)
    with pytest.raises(JobEnded) as caught:
        jobs.append(job, ["x"])
    assert caught.value.state == state
    assert jobs.status(job).total == 0


@pytest.mark.parametrize("state", ["stopped", "failed"])
def test_nothing_is_counted_in_a_job_that_has_ended(jobs: Jobs, queue: redis.Redis, state: str) -> None:
    job = jobs.create("index")
    jobs.end(job, state)
    with pytest.raises(JobEnded):
        jobs.count(job, {"failed": 1}, [Failure("a.jpg", "cannot be read")])
    assert jobs.status(job).failed == 0
    assert [key for key in queue.keys("lookalike:job:*") if queue.ttl(key) < 0] == []


def test_a_filler_that_comes_back_with_failures_alone_opens_its_job_again(jobs: Jobs, queue: redis.Redis) -> None:
    job = jobs.create("index")
    jobs.seal_abandoned(job, after_s=-1)
    assert jobs.status(job).state == "done"
    jobs.count(job, {"failed": 1}, [Failure("a.jpg", "cannot be read")])
    assert (jobs.status(job).state, jobs.running()) == ("running", [job])
    jobs.seal(job)
    status = jobs.status(job)
    assert (status.state, status.total, status.done, status.failed) == ("done", 1, 1, 1)
    assert [failure.path for failure in status.failures] == ["a.jpg"]
    assert [key for key in queue.keys("lookalike:job:*") if queue.ttl(key) < 0] == []


def test_nothing_is_appended_to_a_job_that_its_filler_closed(jobs: Jobs) -> None:
    job = jobs.create("index")
    jobs.seal(job)
    with pytest.raises(JobEnded, match="is closed"):
        jobs.append(job, ["x"])


def test_clocks_of_clients_and_workers_decide_nothing(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = time.time
    monkeypatch.setattr(time, "time", lambda: ours() - 300)
    job = jobs.create("index")
    jobs.append(job, ["x"])
    monkeypatch.setattr(time, "time", lambda: ours() + 300)
    jobs.seal_abandoned(job)
    (number,) = jobs.due(job, width=1)
    assert jobs.claim(job, number, "a") is not None
    assert jobs.due(job, width=1) == []
    assert jobs.silent_s(job) < 60
    assert 0 <= jobs.status(job).seconds < 60


@pytest.mark.parametrize("how", ["last chunk", "seal", "abandoned", "end"])
def test_every_key_of_a_job_expires_a_week_after_its_end(jobs: Jobs, queue: redis.Redis, how: str) -> None:
    job = jobs.create("index")
    jobs.append(job, ["x"])
    jobs.count(job, {"failed": 1}, [Failure("y.jpg", "is empty")])
    jobs.collect(job, [Failure("z.jpg", "found")])
    (number,) = jobs.due(job, width=1)
    chunk = jobs.claim(job, number, "a")
    assert chunk is not None
    jobs.note_intent(chunk, {"x": "added"})
    jobs.postpone(chunk, "the store is away")
    chunk = jobs.claim(job, number, "a")
    assert chunk is not None
    if how == "last chunk":
        jobs.seal(job)
    if how != "end":
        jobs.finish(chunk, {"done": 1})
    if how == "seal":
        jobs.seal(job)
    elif how == "abandoned":
        jobs.seal_abandoned(job, after_s=-1)
    elif how == "end":
        jobs.end(job, "stopped")
    left = {key: queue.ttl(key) for key in queue.keys(f"lookalike:job:{job}*")}
    assert {f"lookalike:job:{job}", f"lookalike:job:{job}:failures", f"lookalike:job:{job}:findings"} <= set(left)
    assert {7 * 24 * 3600 - ttl < 5 for ttl in left.values()} == {True}, left


def test_no_key_of_a_job_expires_while_it_runs(jobs: Jobs, queue: redis.Redis) -> None:
    job = jobs.create("index")
    jobs.append(job, ["x"])
    assert {queue.ttl(key) for key in queue.keys(f"lookalike:job:{job}*")} == {-1}


def test_a_split_chunk_becomes_single_items_and_the_total_stays(jobs: Jobs) -> None:
    job = make(jobs, 5)
    (number,) = jobs.due(job, width=1)
    chunk = jobs.claim(job, number, "a")
    assert chunk is not None
    jobs.split(chunk)
    run(jobs, job)
    status = jobs.status(job)
    assert (status.state, status.total, status.done) == ("done", 5, 5)


def test_a_stopped_job_hands_out_nothing_more(jobs: Jobs) -> None:
    job = make(jobs, 5 * CHUNK)
    (number, *_) = jobs.due(job, width=2)
    jobs.end(job, "stopped")
    assert jobs.claim(job, number, "a") is None
    assert jobs.due(job, width=2) == []
    assert jobs.status(job).state == "stopped"


def test_items_that_never_reach_a_chunk_are_counted(jobs: Jobs) -> None:
    job = jobs.create("index")
    jobs.count(job, {"failed": 1}, [Failure("a.txt", "is no image")])
    jobs.count(job, {"unchanged": 2})
    jobs.seal(job)
    status = jobs.status(job)
    assert (status.total, status.done, status.failed, status.unchanged) == (3, 3, 1, 2)


def test_other_counters_show_up_in_the_detail(jobs: Jobs) -> None:
    job = make(jobs, 1)
    (number,) = jobs.due(job, width=1)
    chunk = jobs.claim(job, number, "a")
    assert chunk is not None
    jobs.finish(chunk, {"missing": 3})
    assert jobs.status(job).detail == {"missing": 3}


def test_the_latest_jobs_of_a_kind_are_known_newest_first(jobs: Jobs) -> None:
    first, _, last = jobs.create("train"), jobs.create("publish"), jobs.create("train")
    jobs.end(first, "done")
    found = jobs.latest("train", 5)
    assert [status.job for status in found] == [last, first]
    assert [status.job for status in jobs.latest("train", 1)] == [last]
    assert found[0].ended_at is None
    assert found[1].ended_at == pytest.approx(time.time(), abs=5)


def test_a_forgotten_job_is_no_longer_among_the_latest(jobs: Jobs, queue: redis.Redis) -> None:
    forgotten, kept = jobs.create("sweep"), jobs.create("sweep")
    queue.delete(f"lookalike:job:{forgotten}")
    assert [status.job for status in jobs.latest("sweep", 5)] == [kept]


def test_an_unknown_job_is_not_found(jobs: Jobs) -> None:
    with pytest.raises(NotFound):
        jobs.status("index-nothing")


@pytest.mark.parametrize("seed", range(5))
def test_counts_are_exact_under_crashes_and_redelivery(jobs: Jobs, queue: redis.Redis, seed: int) -> None:
    """Workers die in the middle, messages come twice or are lost: every item is counted exactly once."""
    dice = random.Random(seed)
    job = make(jobs, 700)
    messages: list[int] = []
    deadline = time.monotonic() + 30
    while not jobs.status(job).is_finished:
        assert time.monotonic() < deadline
        messages += [n for n in jobs.due(job, width=6) if dice.random() > 0.2]  # some nudges are lost
        if not messages:  # as the clock would do in 30 s
            leases = f"lookalike:job:{job}:leases"
            for number in queue.zrange(leases, 0, -1):
                queue.zadd(leases, {number: 0})
            continue
        number = messages.pop(dice.randrange(len(messages)))
        if dice.random() < 0.2:
            messages.append(number)  # delivered twice
        worker = dice.choice("ab")
        chunk = jobs.claim(job, number, worker)
        if chunk is None:
            continue
        if dice.random() < 0.3:  # dies, and comes back under the same name
            queue.delete(worker_key(worker))
            messages += jobs.due(job, width=6)
            queue.set(worker_key(worker), json.dumps({}))
            continue
        jobs.finish(chunk, {"added": len(chunk.items), "done": len(chunk.items)})
    status = jobs.status(job)
    assert (status.added, status.done, status.total) == (700, 700, 700)
