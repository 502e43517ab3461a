"""A publish that meets an error: what passes is waited for, what stays ends it, and the check is as strict as ever."""

import errno
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import redis

from ml.errors import BadBundle, LookalikeError
from ml.model.registry import Building
from ml.records import Damaged
from ml.storage import StorageFailed
from workers.queue.jobs import PREFIXES, Jobs
from workers.store import Payload, Point
from workers.store.edge import EdgeStore
from workers.tasks import publish
from workers.tasks.publish import advance

COLLECTION = "gallery-better-1"


class Registry:
    """Remembers what is being built."""

    def __init__(self) -> None:
        self.entries: list[Building] = []

    def building(self) -> list[Building]:
        return self.entries

    def begin_building(self, entry: Building) -> None:
        self.entries.append(entry)

    def end_building(self, job: str) -> list[Building]:
        before, self.entries = self.entries, [entry for entry in self.entries if entry.job != job]
        return [entry for entry in before if entry.job == job]

    def active(self) -> None:
        return None


@pytest.fixture
def jobs(queue: redis.Redis) -> Jobs:
    return Jobs(queue)


@pytest.fixture
def job(jobs: Jobs) -> str:
    job = jobs.create("publish", {"model": "better", "collection": COLLECTION}, externally_driven=True)
    jobs.describe(job, {"phase": "prepare"})
    return job


def serving(live: Callable[[str, str], Any], *, stored: int = 0, images: int = 0, has_graph: bool = True) -> Any:
    dropped: list[str] = []
    return SimpleNamespace(
        live=live,
        registry=Registry(),
        refresh=lambda: None,
        store=SimpleNamespace(
            count=lambda collection: stored, drop=dropped.append, make_ready=lambda collection: has_graph
        ),
        gallery=SimpleNamespace(ids=lambda: iter(map(str, range(images)))),
        dropped=dropped,
    )


def loaded(model: str, collection: str) -> Any:
    embedder = SimpleNamespace(bundle=SimpleNamespace(lineage={}), preprocessing=None)
    return SimpleNamespace(model=model, collection=collection, embedder=embedder)


def test_no_collection_is_switched_to_before_its_graph_is_there(jobs: Jobs, job: str) -> None:
    """Without it searches would be several times slower for as long as it takes to be made."""
    jobs.describe(job, {"phase": "graph"})
    advance(serving(loaded, has_graph=False), jobs, [], job)
    assert jobs.status(job).detail["phase"] == "graph"
    advance(serving(loaded, has_graph=True), jobs, [], job)
    assert jobs.status(job).detail["phase"] == "switch"


def test_what_becomes_of_a_step_after_its_job_was_stopped_does_not_matter(jobs: Jobs, job: str) -> None:
    """Its collection goes within seconds, and then the step fails."""

    def stopped(model: str, collection: str) -> None:
        jobs.end(job, "stopped")
        raise LookalikeError(f"there is no collection {collection}")

    advance(serving(stopped), jobs, [], job)
    status = jobs.status(job)
    assert (status.state, "reason" in status.detail) == ("stopped", False)


def test_a_step_that_another_worker_took_meanwhile_changes_nothing(jobs: Jobs, job: str) -> None:
    """This worker stood still for so long that its lock was given to another, which has come further."""

    def late(model: str, collection: str) -> Any:
        jobs.describe(job, {"phase": "switch"})
        return loaded(model, collection)

    assert not advance(serving(late), jobs, [], job)
    assert jobs.status(job).detail["phase"] == "switch"


@pytest.mark.parametrize("phase", ["prepare", "load"])
def test_a_damaged_model_ends_its_publish_with_the_reason(jobs: Jobs, job: str, phase: str) -> None:
    def damaged(model: str, collection: str) -> None:
        raise BadBundle("model.safetensors is not what was saved")

    jobs.describe(job, {"phase": phase})
    worker = serving(damaged)
    worker.registry.entries = [Building("better", COLLECTION, job)]
    advance(worker, jobs, [], job)
    status = jobs.status(job)
    assert (status.state, status.detail["reason"]) == ("failed", "model.safetensors is not what was saved")
    assert worker.registry.building() == []
    assert worker.dropped == [COLLECTION]


def test_a_storage_that_is_away_is_waited_for_and_told(jobs: Jobs, job: str) -> None:
    answers: list[LookalikeError | None] = [StorageFailed("the storage does not answer", passes=True), None]

    def live(model: str, collection: str) -> Any:
        if error := answers.pop(0):
            raise error
        return loaded(model, collection)

    worker = serving(live)
    advance(worker, jobs, [], job)
    assert jobs.status(job).state == "running"
    assert jobs.waiting() == {job: "the storage does not answer"}
    advance(worker, jobs, [], job)
    assert jobs.waiting() == {}
    assert jobs.status(job).detail["phase"] == "load"


def test_a_storage_that_stays_away_ends_the_publish(jobs: Jobs, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(model: str, collection: str) -> None:
        raise StorageFailed("the storage does not answer", passes=True)

    monkeypatch.setattr("workers.tasks.waiting.LONGEST_WAIT_S", 0.0)
    advance(serving(away), jobs, [], job)
    assert jobs.status(job).state == "failed"


def test_a_photo_that_fails_in_every_pass_excuses_one_missing_point(jobs: Jobs, job: str) -> None:
    """Its failures add up in the job's record; the check looks at those of the last pass."""

    def check(stored: int) -> str:
        jobs.describe(job, {"phase": "check", "failed_before": 2}, failed=3)
        advance(serving(loaded, stored=stored, images=10), jobs, [], job)
        return jobs.status(job).state

    assert check(stored=8) == "failed"


def test_a_lost_original_stops_no_publish(jobs: Jobs, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(id: str) -> bytes:
        raise Damaged(f"the original of image {id} is missing", key=f"originals/{id}")

    monkeypatch.setattr(publish, "_compare_quality", lambda serving, new: ({}, "no labels"))
    monkeypatch.setattr(publish, "calibrate", lambda serving, new: {})
    worker = serving(loaded, stored=10, images=10)
    worker.gallery.original, worker.limits, worker.decoders = lost, None, SimpleNamespace(decode=None)
    jobs.describe(job, {"phase": "check"})
    advance(worker, jobs, [], job)
    assert (jobs.status(job).state, jobs.status(job).detail["phase"]) == ("running", "graph")


def test_the_pass_remembers_how_many_had_failed_before_it(jobs: Jobs, job: str) -> None:
    jobs.describe(job, {"phase": "load"}, failed=2)
    worker: Any = SimpleNamespace(holds=(COLLECTION,))
    advance(serving(loaded), jobs, [worker], job)
    status = jobs.status(job)
    assert status.detail["failed_before"] == 2
    assert jobs.pending(job) == len(PREFIXES) // 16


def test_the_quality_gate_refuses_a_worse_model_unless_forced(
    jobs: Jobs, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "_check_probes", lambda serving, new: None)
    monkeypatch.setattr(publish, "_compare_quality", lambda serving, new: ({"new": 0.5, "active": 0.6}, "8 photos"))
    monkeypatch.setattr(publish, "calibrate", lambda serving, new: {"reason": "too few"})
    jobs.describe(job, {"phase": "check"})
    advance(serving(loaded), jobs, [], job)
    status = jobs.status(job)
    assert status.state == "failed"
    assert "0.500, the active model's is 0.600" in status.detail["reason"]
    forced = jobs.create(
        "publish", {"model": "better", "collection": COLLECTION, "force": True}, externally_driven=True
    )
    jobs.describe(forced, {"phase": "check"})
    advance(serving(loaded), jobs, [], forced)
    assert jobs.status(forced).detail["phase"] == "graph"


def test_neighbours_that_are_worse_are_seen_in_the_vectors(
    jobs: Jobs, job: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The figures that the gate decides by are measured on both collections, image by image."""
    monkeypatch.setattr(publish, "_check_probes", lambda serving, new: None)
    store = EdgeStore(tmp_path / "store")
    active = loaded("active", "gallery-active")
    labels = ["lime"] * 4 + ["lemon"] * 4
    ids = [f"{number:032x}" for number in range(len(labels))]
    apart = np.repeat(np.eye(2, dtype=np.float32), 4, axis=0)
    mixed = np.tile(np.eye(2, dtype=np.float32), (4, 1))
    for collection, vectors in (("gallery-active", apart), (COLLECTION, mixed)):
        store.ensure(collection, 2)
        rows = zip(ids, vectors, labels, strict=True)
        store.upsert(collection, [Point(id, vector, Payload(f"{id}.jpg", label)) for id, vector, label in rows])
    worker = serving(loaded, images=len(ids))
    worker.store, worker.active, worker.settings = store, lambda: active, SimpleNamespace(home=tmp_path)
    jobs.describe(job, {"phase": "check"})
    advance(worker, jobs, [], job)
    store.close()
    status = jobs.status(job)
    assert status.state == "failed"
    assert "the active model's is 1.000" in status.detail["reason"]
    assert worker.registry.active() is None, "nothing was switched"


@pytest.mark.parametrize(
    "error, state",
    [
        (OSError(errno.ENOSPC, "No space left on device", "/home/vectors.npz"), "running"),
        (OSError(errno.EACCES, "Permission denied", "/home/vectors.npz"), "failed"),
        (KeyError("points"), "failed"),
    ],
)
def test_what_nobody_expected_is_not_retried_for_ever_either(
    jobs: Jobs, job: str, error: Exception, state: str
) -> None:
    def live(model: str, collection: str) -> None:
        raise error

    advance(serving(live), jobs, [], job)
    status = jobs.status(job)
    assert status.state == state
    told = status.detail.get("reason") or jobs.waiting()[job]
    assert str(error.args[-1]) in told


@pytest.mark.parametrize("missing, phase", [(5, "check"), (7, "build")])
def test_a_pass_follows_while_the_last_one_found_something(jobs: Jobs, job: str, missing: int, phase: str) -> None:
    """What passes find adds up in the record; what the last one found is the difference."""
    jobs.describe(job, {"phase": "build", "passes": 1, "found_before": 5, "failed_before": 0})
    jobs._redis.hset(f"lookalike:job:{job}", "missing", missing)
    advance(serving(loaded), jobs, [], job)
    detail = jobs.status(job).detail
    assert (detail["phase"], detail["passes"]) == (phase, 1 if phase == "check" else 2)
    assert phase == "check" or detail["found_before"] == 7
