"""What housekeeping does for jobs whose client, filler or worker is gone."""

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from ml.model.registry import Building
from ml.records import Unlogged
from ml.storage import open_storage
from workers import settings as settings_of
from workers.gallery import Gallery
from workers.queue.app import QUEUES
from workers.queue.jobs import CHUNK, Jobs
from workers.tasks import housekeeping
from workers.tasks.context import Context
from workers.tasks.housekeeping import Housekeeping, settle_collections


class Sent:
    """A Celery application of which only what is sent matters."""

    def __init__(self) -> None:
        self.tasks: list[tuple[str, tuple[Any, ...], str]] = []

    def send_task(self, name: str, arguments: tuple[Any, ...], *, queue: str, **_: Any) -> None:
        self.tasks.append((name, arguments, queue))

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [arguments for sent, arguments, _ in self.tasks if sent == name]


@pytest.fixture
def sent() -> Sent:
    return Sent()


@pytest.fixture
def context(queue: redis.Redis, sent: Sent, tmp_path: Path) -> Context:
    serving: Any = SimpleNamespace(
        registry=SimpleNamespace(building=list, forget_removed=lambda until: None),
        storages=lambda: (open_storage(str(tmp_path)),),
        log=Unlogged(),
        gallery=Gallery(open_storage(str(tmp_path))),
        settings=settings_of.load({}),
        active=lambda: SimpleNamespace(collection="photos"),
        store=SimpleNamespace(version=lambda collection: None, collections=list),
    )
    heartbeat: Any = SimpleNamespace(worker="w")
    app: Any = sent
    return Context(app, queue, Jobs(queue), serving, heartbeat)


@pytest.fixture
def keep_house(context: Context) -> Any:
    keeper = Housekeeping(context)

    def keep_house() -> None:
        context.redis.delete("lookalike:housekeeping")  # as its lock expires
        keeper.run_once()

    return keep_house


def test_models_that_were_removed_before_the_trash_is_emptied_go_for_good(context: Context, keep_house: Any) -> None:
    asked: list[float] = []
    context.serving.registry.forget_removed = asked.append  # type: ignore[method-assign]
    keep_house()
    keep_house()
    (until,) = asked  # once an hour is enough
    days_ago = (time.time() - until) / 86_400
    assert days_ago == pytest.approx(context.serving.settings.trash_days, abs=0.01)


def test_chunks_that_nobody_was_told_of_are_enqueued(context: Context, sent: Sent, keep_house: Any) -> None:
    job = context.jobs.create("index")
    context.jobs.append(job, [f"{n:032x}" for n in range(CHUNK + 1)])
    keep_house()
    assert sent.named("work_on_chunk") == [(job, 1), (job, 2)]
    keep_house()
    assert len(sent.named("work_on_chunk")) == 2, "they are under way"


def test_a_job_whose_filler_is_silent_is_sealed(context: Context, keep_house: Any) -> None:
    job = context.jobs.create("index")
    keep_house()
    assert context.jobs.status(job).state == "running"
    context.redis.hset(f"lookalike:job:{job}", "touched_at", time.time() - 61)
    keep_house()
    assert context.jobs.status(job).state == "done"


def test_a_filler_that_was_paused_has_time_to_come_back_before_others_index_what_it_stored(
    context: Context, keep_house: Any
) -> None:
    job = context.jobs.create("index")
    context.redis.hset(f"lookalike:job:{job}", "touched_at", time.time() - 61)
    for _ in range(3):
        keep_house()
    assert context.jobs.latest("reconcile", 5) == [], "photos that it stored would be counted as unchanged"
    assert 0 < context.redis.ttl("lookalike:reconciled") <= 600
    context.redis.delete("lookalike:reconciled")  # as it expires
    keep_house()
    assert len(context.jobs.latest("reconcile", 5)) == 1


def test_a_publish_job_is_advanced_when_it_waits_for_no_chunk(context: Context, sent: Sent, keep_house: Any) -> None:
    waiting = context.jobs.create("publish", externally_driven=True)
    working = context.jobs.create("publish", externally_driven=True)
    context.jobs.append(working, ["prefix:00"])
    keep_house()
    assert [job for job, _ in sent.named("advance_publish")] == [waiting]


def test_a_canary_goes_through_every_queue_now_and_then(sent: Sent, keep_house: Any) -> None:
    keep_house()
    keep_house()
    assert [queue for name, _, queue in sent.tasks if name == "canary"] == list(QUEUES)


def test_what_a_stopped_publish_was_building_is_abandoned(
    context: Context, keep_house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    going_on = context.jobs.create("publish", externally_driven=True)
    stopped = context.jobs.create("publish", externally_driven=True)
    context.jobs.end(stopped, "stopped")
    entries = [Building("m", "a", going_on), Building("m", "b", stopped)]
    context.serving.registry.building = lambda: entries
    abandoned: list[str] = []
    monkeypatch.setattr(housekeeping, "abandon", lambda serving, job: abandoned.append(job))
    keep_house()
    assert abandoned == [stopped]


def test_storage_and_collection_are_compared_once_when_nothing_runs(
    context: Context, keep_house: Any, tmp_path: Path
) -> None:
    job = context.jobs.create("index")
    keep_house()
    assert context.jobs.latest("reconcile", 5) == [], "what an index job holds is its own to count"
    context.jobs.end(job, "done")
    fresh, old = tmp_path / f".draft-{'a' * 32}", tmp_path / "originals" / f".draft-{'b' * 32}"
    old.parent.mkdir()
    for draft in (fresh, old):
        draft.write_bytes(b"half of a photo")
    os.utime(old, (time.time() - 7200,) * 2)
    keep_house()
    (reconcile,) = context.jobs.latest("reconcile", 5)
    assert context.jobs.params(reconcile.job) == {"repair": True, "quick": True}
    assert fresh.exists()
    assert not old.exists()
    context.jobs.end(reconcile.job, "done")
    keep_house()
    assert len(context.jobs.latest("reconcile", 5)) == 1
    housekeeping.reconcile_again(context.redis)
    keep_house()
    assert len(context.jobs.latest("reconcile", 5)) == 2


def test_one_worker_at_a_time_keeps_house(context: Context, sent: Sent) -> None:
    context.redis.set("lookalike:housekeeping", "another")
    Housekeeping(context).run_once()
    assert sent.tasks == []


def test_a_collection_that_was_begun_anew_is_told_until_it_is_whole() -> None:
    notes = {"collections/photos", "collections/older", "originals/ab/1"}
    stored = [2]
    serving: Any = SimpleNamespace(
        log=SimpleNamespace(known=lambda: set(notes), mended=notes.discard),
        active=lambda: SimpleNamespace(collection="photos"),
        gallery=SimpleNamespace(ids=lambda: iter("abcd")),
        store=SimpleNamespace(count=lambda collection: stored[0]),
    )
    settle_collections(serving)
    assert notes == {"collections/photos", "originals/ab/1"}, "a rollback fills the older one"
    stored[0] = 3
    settle_collections(serving)
    assert notes == {"originals/ab/1"}, "one original is damaged, and cannot be embedded"


def test_a_publish_that_begins_meanwhile_is_not_taken_for_one_that_was_stopped(
    context: Context, keep_house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    abandoned: list[str] = []
    monkeypatch.setattr(housekeeping, "abandon", lambda serving, job: abandoned.append(job))

    def building() -> list[Building]:
        """Another worker has prepared it since this round looked which jobs run."""
        job = context.jobs.create("publish", {}, externally_driven=True)
        return [Building("better", "gallery-better", job), Building("worse", "gallery-worse", "publish-stopped")]

    context.serving.registry.building = building  # type: ignore[method-assign]
    keep_house()
    assert abandoned == ["publish-stopped"]


def test_in_a_large_gallery_the_label_queue_is_looked_at_ahead_once_after_each_change(
    context: Context, keep_house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions, looked, sizes = [1], [], [20_000]
    context.serving.store = SimpleNamespace(  # type: ignore[assignment]
        collections=list, version=lambda collection: versions[-1], count=lambda collection: sizes[-1]
    )
    monkeypatch.setattr(housekeeping, "look_ahead", looked.append)
    keep_house()  # compares storage with the collection first
    for job in context.jobs.running():
        context.jobs.end(job, "done", {})
    keep_house()
    keep_house()
    assert len(looked) == 1
    versions.append(2)
    keep_house()
    assert len(looked) == 2
    versions.append(3)
    sizes.append(19_999)
    keep_house()
    assert len(looked) == 2
