"""Tuning over a real store: neighbours that are looked up are the true ones, and the model that is made fits them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import redis

from ml.model.head import Head, unit_length
from ml.tuning.gallery_head import mutual_pairs
from workers.messages import JobStatus
from workers.queue.jobs import PREFIXES, Chunk, Jobs
from workers.store import Payload, Point
from workers.store.edge import EdgeStore
from workers.tasks import tuning
from workers.tasks.publish import advance


@pytest.fixture
def serving(tmp_path: Path) -> Any:
    store = EdgeStore(tmp_path / "store")
    store.ensure("photos", 16)
    embedder = SimpleNamespace(head=Head(False), bundle=SimpleNamespace(name="model", lineage={}))
    live = SimpleNamespace(model="model", collection="photos", embedder=embedder)
    yield SimpleNamespace(
        store=store, active=lambda: live, batcher=SimpleNamespace(yield_to_searches=lambda: None), limits=None
    )
    store.close()


def fill(store: EdgeStore, groups: int, each: int) -> dict[str, np.ndarray]:
    dice = np.random.default_rng(0)
    rows = np.repeat(dice.normal(size=(groups, 16)), each, axis=0) + 0.2 * dice.normal(size=(groups * each, 16))
    vectors = unit_length(rows.astype(np.float32))
    ids = [f"{int(value):032x}" for value in dice.integers(0, 2**63, len(vectors)).astype(object) << 65]
    store.upsert("photos", [Point(id, v, Payload(id, None)) for id, v in zip(ids, vectors, strict=True)])
    return dict(zip(ids, vectors, strict=True))


def looked_up(serving: Any, *, is_sampled: bool) -> dict[str, tuple[str, ...]]:
    params = {"source": "photos", "neighbours": 2, "is_sampled": is_sampled}
    chunk = Chunk("tune-1", 0, PREFIXES, 1, params)
    return {each.id: each.nearest for each in tuning.look(serving, chunk, lambda: None)}


def test_the_neighbours_that_are_found_are_the_nearest_others(serving: Any) -> None:
    vectors = fill(serving.store, 20, 5)
    ids, rows = list(vectors), np.stack(list(vectors.values()))
    similarity = rows @ rows.T
    np.fill_diagonal(similarity, -2)
    expected = {id: {ids[n] for n in np.argsort(-similarity[row])[:2]} for row, id in enumerate(ids)}
    assert {id: set(nearest) for id, nearest in looked_up(serving, is_sampled=False).items()} == expected


def test_a_sample_knows_of_its_neighbours_whether_they_are_mutual(
    serving: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(serving.store, 20, 5)
    everything = mutual_pairs(looked_up(serving, is_sampled=False))
    monkeypatch.setattr(tuning, "_SAMPLE", 256)  # one for each prefix
    sampled = mutual_pairs(looked_up(serving, is_sampled=True))
    assert 0 < len(sampled) <= len(everything)
    assert set(sampled) <= set(everything)


def test_a_gallery_that_is_too_small_ends_the_job_with_the_reason(serving: Any, queue: redis.Redis) -> None:
    fill(serving.store, 10, 3)
    serving.registry = SimpleNamespace(building=list, set_building=lambda entries: None, active=lambda: None)
    serving.refresh = lambda: None
    jobs = Jobs(queue)
    job = jobs.create("tune", {"force": False}, externally_driven=True)
    jobs.describe(job, {"phase": "look"})
    advance(serving, jobs, [], job)
    status: JobStatus = jobs.status(job)
    assert status.state == "failed"
    assert "at least 60 photos" in status.detail["reason"] and "has 30" in status.detail["reason"]
