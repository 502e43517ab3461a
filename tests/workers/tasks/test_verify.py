"""Verifying finds what is not what it was, names it, and mends what can be mended."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ml.model.registry import Registry
from tests.workers.tasks.test_reconcile import Brightness, context, photo  # noqa: F401
from workers.messages import Finding, JobStatus
from workers.queue.damage import DamageNotes
from workers.queue.jobs import PREFIXES
from workers.store import Point
from workers.tasks import chunks
from workers.tasks.context import Context
from workers.tasks.verify import COUNTS


@pytest.fixture
def system(context: Context, tmp_path: Path) -> Iterator[Context]:  # noqa: F811
    """Four photos, all embedded by a model that is active."""
    notes = DamageNotes(context.redis)
    serving: Any = context.serving
    serving.log = serving.gallery._log = notes
    serving.registry = Registry(f"file://{tmp_path}/storage/models", notes)
    serving.registry.activate("model", "photos")
    serving.active = lambda: serving.targets()[0]
    for n in range(4):
        path = tmp_path / "photos" / f"{n}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(photo(60 * n))
        serving.gallery.add(path, path=str(path), label="photos")
    run(context, context.jobs.create("index"), list(serving.gallery.ids()))
    yield context


def run(context: Context, job: str, items: Any) -> JobStatus:  # noqa: F811
    context.jobs.append(job, items, size=16)
    context.jobs.seal(job)
    while not context.jobs.status(job).is_finished:
        for number in context.jobs.due(job, width=100):
            chunk = context.jobs.claim(job, number, "w")
            assert chunk is not None
            chunks.work(context, chunk)
    return context.jobs.status(job)


def verify(context: Context, **params: bool) -> tuple[dict[str, int], list[Finding]]:  # noqa: F811
    """What was counted, without zeros, and named."""
    job = context.jobs.create("verify", params)
    status = run(context, job, PREFIXES)
    assert status.failed == 0, status.failures
    findings = [Finding.from_json(found) for found in context.jobs.collected(job)]
    return {name: status.detail[name] for name in COUNTS if status.detail.get(name)}, findings


def stored(context: Context, folder: str, n: int, tmp_path: Path) -> Path:  # noqa: F811
    """The file of the n-th photo in storage."""
    image = next(
        i for i in context.serving.gallery.find_many(context.serving.gallery.ids()).values() if i.name == f"{n}.png"
    )
    ending = ".json" if folder == "metadata" else ""
    return tmp_path / "storage" / folder / image.id[:2] / f"{image.id}{ending}"


def test_what_is_whole_is_not_complained_about(system: Context) -> None:
    assert verify(system) == ({}, [])
    assert verify(system, repair=True) == ({}, [])


@pytest.mark.parametrize("content", [b"", b"something else", None])
def test_an_original_that_is_not_what_it_was_is_named(system: Context, tmp_path: Path, content: bytes | None) -> None:
    file = stored(system, "originals", 2, tmp_path)
    file.unlink() if content is None else file.write_bytes(content)
    counts, (finding,) = verify(system, repair=True)
    assert counts == {"lost": 1}
    assert finding.path.endswith("photos/2.png") and "original" in finding.reason
    assert "1 stored file is damaged or lost" in DamageNotes(system.redis).summary()
    source = tmp_path / "photos" / "2.png"
    system.serving.gallery.add(source, path=str(source), label="photos")
    assert verify(system) == ({}, [])
    assert DamageNotes(system.redis).summary() == ""


def test_quick_reads_no_originals(system: Context, tmp_path: Path) -> None:
    stored(system, "originals", 2, tmp_path).write_bytes(b"")
    assert verify(system, quick=True) == ({}, [])


def test_a_home_of_an_earlier_version_is_told_from_its_links_and_healed(system: Context, tmp_path: Path) -> None:
    for n in range(4):
        file = stored(system, "originals", n, tmp_path)
        file.unlink()
        os.link(tmp_path / "photos" / f"{n}.png", file)
    (tmp_path / "photos" / "1.png").write_bytes(photo(7))
    counts, (finding,) = verify(system)
    assert counts == {"lost": 1, "linked": 3}
    assert finding.path.endswith("photos/1.png")
    verify(system, repair=True)
    (tmp_path / "photos" / "2.png").write_bytes(photo(7))
    assert verify(system)[0] == {"lost": 1}


@pytest.mark.parametrize("content", [b"", b'{"id": "', b"[]"])
def test_damaged_metadata_is_told_and_rebuilt(system: Context, tmp_path: Path, content: bytes) -> None:
    file = stored(system, "metadata", 2, tmp_path)
    before = system.serving.gallery.image(file.stem)
    file.write_bytes(content)
    counts, (finding,) = verify(system)
    assert (counts, finding.path) == ({"damaged": 1}, before.path)
    assert "1 stored file is damaged" in DamageNotes(system.redis).summary()
    assert verify(system, repair=True)[0] == {"damaged": 1}
    after = system.serving.gallery.image(file.stem)
    assert (after.path, after.label, after.width) == (before.path, before.label, before.width)
    assert verify(system) == ({}, [])
    assert DamageNotes(system.redis).summary() == ""


@pytest.mark.parametrize("factor", [-1.0, 3.0, float("nan")])
def test_vectors_that_are_not_what_the_model_gives_are_told_and_rebuilt(system: Context, factor: float) -> None:
    store, ids = system.serving.store, list(system.serving.gallery.ids())
    before = store.fetch("photos", ids, with_vectors=True)
    spoilt = SimpleNamespace(id=ids[0], vector=factor * before[ids[0]].vector, payload=before[ids[0]].payload)
    fetch = store.store.fetch

    def fetch_spoilt(collection: str, asked: Any, **options: Any) -> Any:
        found = fetch(collection, asked, **options)
        return found | ({spoilt.id: spoilt} if spoilt.id in found else {})

    store.store.fetch = fetch_spoilt  # the engine makes every vector that is written one of unit length
    counts, (finding,) = verify(system)
    assert (counts, finding.key) == ({"wrong": 1}, ids[0])
    written: list[Point] = []
    upsert = store.store.upsert
    store.store.upsert = lambda collection, points: (written.extend(points), upsert(collection, points))
    verify(system, repair=True)
    assert [point.id for point in written] == ids[:1]
    assert np.allclose(written[0].vector, before[ids[0]].vector)


def test_the_registrys_files_are_told_and_mended(system: Context, tmp_path: Path) -> None:
    (tmp_path / "storage" / "models" / "active.json").write_bytes(b"")
    assert system.serving.registry.active().collection == "photos"
    counts, (finding,) = verify(system)
    assert (counts, finding.key) == ({"damaged": 1}, "models/active.json")
    verify(system, repair=True)
    assert verify(system) == ({}, [])
    assert system.serving.registry.named().collection == "photos"
    assert DamageNotes(system.redis).summary() == ""


def test_a_photo_that_was_to_stay_in_place_and_did_not_is_told(system: Context, tmp_path: Path) -> None:
    file = tmp_path / "photos" / "in_place.png"
    file.write_bytes(photo(33))
    gallery = system.serving.gallery
    run(system, system.jobs.create("index"), [gallery.add(file, path=str(file), label=None, in_place=True).id])
    assert verify(system) == ({}, [])
    file.write_bytes(photo(34))
    for quick in (True, False):
        counts, (finding,) = verify(system, quick=quick)
        assert counts == {"lost": 1}
        assert finding.reason == f"{file} has changed since it was indexed in place"
    assert f"{file} has changed" in DamageNotes(system.redis).summary()


def test_a_reconciliation_leaves_what_an_index_job_stores_to_that_job(system: Context) -> None:
    system.redis.set("lookalike:reconciled", "w")
    index = system.jobs.create("index")
    id = system.serving.gallery.add(photo(77), path="77.png", label=None).id
    assert run(system, system.jobs.create("reconcile", {"repair": True, "quick": True}), PREFIXES).added == 0
    assert not system.redis.exists("lookalike:reconciled"), "it is made again when nothing else runs"
    assert run(system, index, [id]).added == 1
