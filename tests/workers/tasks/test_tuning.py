"""Tuning over a real store: views and pairs that are found make the model that an independent fit makes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import redis

from ml.data.seen_photos import packed
from ml.images import UnreadableImage
from ml.model.head import Head, LinearMap, unit_length
from ml.tuning.gallery_head import CONFIRMED, UNLABELLED, Conversion, fit_gallery
from ml.tuning.left_out import of_gallery
from ml.tuning.taught import TAUGHT, TAUGHT_BEFORE
from ml.tuning.views import views
from workers.messages import AlikePair, JobStatus, VariedImage
from workers.queue.jobs import PREFIXES, Chunk, Jobs
from workers.store import Payload, Point
from workers.store.edge import EdgeStore
from workers.tasks import tuning
from workers.tasks.publish import advance

DIM = 48
VIEWS = 3


def embed(pixels: np.ndarray) -> np.ndarray:
    """A network for tests: the mean colours of a grid of 4 x 4, uint8 [n, 16, 16, 3] to float32 [n, 48]."""
    cells = pixels.reshape(len(pixels), 4, 4, 4, 4, 3).mean(axis=(2, 4))
    return unit_length(cells.reshape(len(pixels), DIM).astype(np.float32))


def photos(groups: int, each: int) -> dict[str, np.ndarray]:
    """id -> pixels: groups of smooth images, more or less like their group's."""
    dice = np.random.default_rng(0)
    found = {}
    for _ in range(groups):
        cells = dice.uniform(40, 215, (4, 4, 3))
        for _ in range(each):
            small = np.clip(cells + dice.normal(0, 12, cells.shape), 0, 255)
            found[f"{int(dice.integers(0, 2**63)) << 65:032x}"] = np.kron(small, np.ones((4, 4, 1))).astype(np.uint8)
    return found


def serving_of(store: Any, head: Head, images: dict[str, np.ndarray]) -> Any:
    embedder = SimpleNamespace(
        head=head, bundle=SimpleNamespace(name="model", lineage={}), preprocessing=None, embed=lambda x: embed(x)
    )
    live = SimpleNamespace(model="model", collection="photos", embedder=embedder)

    def decode(pixels: np.ndarray | None, work: Any) -> Any:
        if pixels is None:
            raise UnreadableImage("it is cut off")
        return SimpleNamespace(pixels=pixels)

    return SimpleNamespace(
        store=store,
        active=lambda: live,
        batcher=SimpleNamespace(
            yield_to_searches=lambda: None, embed=lambda model, x, urgent: model.head.tune(embed(x))
        ),
        preparers=ThreadPoolExecutor(2),
        decode_step=4,
        decoders=SimpleNamespace(decode=decode),
        gallery=SimpleNamespace(original=images.get, ids=lambda: iter(images)),
        limits=None,
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EdgeStore]:
    opened = EdgeStore(tmp_path / "store")
    opened.ensure("photos", DIM)
    yield opened
    opened.close()


@pytest.fixture
def jobs(queue: redis.Redis) -> Jobs:
    return Jobs(queue)


def fill(store: EdgeStore, head: Head, images: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns id -> vector without tuning."""
    plain = dict(zip(images, embed(np.stack(list(images.values()))), strict=True))
    stored = head.tune(np.stack(list(plain.values())))
    store.upsert("photos", [Point(id, v, Payload(id, None)) for id, v in zip(plain, stored, strict=True)])
    return plain


def found(serving: Any, jobs: Jobs, **changes: Any) -> tuple[list[VariedImage], list[AlikePair]]:
    """What chunks over the whole gallery find."""
    common = {"source": "photos", "photos": 100, "is_sampled": False}
    job = jobs.create("tune", {}, externally_driven=True)
    varied = tuning.find(serving, jobs, Chunk(job, 0, PREFIXES, 1, common | {"views": VIEWS} | changes))
    jobs.collect(job, varied)
    pairs = tuning.find(serving, jobs, Chunk(job, 1, PREFIXES, 1, common | {"neighbours": 2} | changes))
    return list(varied), list(pairs)


TUNED = Head(False, tuning=(LinearMap(np.diag(np.linspace(1, 2, DIM)).astype(np.float32)),))


@pytest.mark.parametrize("head", [Head(False), TUNED])
def test_pairs_are_those_of_an_exact_search_among_all_without_the_tuning_before(
    store: EdgeStore, jobs: Jobs, head: Head
) -> None:
    images = photos(8, 4)
    plain = fill(store, head, images)
    varied, pairs = found(serving_of(store, head, images), jobs)
    assert {each.id for each in varied} == set(images)
    vectors = np.stack([plain[id] for id in images])
    drawn = [embed(np.stack([views(pixels, VIEWS, int(id, 16))[n] for id, pixels in images.items()])) for n in range(3)]
    conversion = Conversion(head, Head(False))
    assert conversion(head.tune(drawn[0])) == pytest.approx(drawn[0], abs=1e-4)
    of_views = tuning.Differences(DIM)
    for view in drawn:
        of_views.add(view - vectors)
    tuned = Head(False, tuning=(tuning.fit(vectors.mean(0), of_views).linear_map,)).tune(vectors)
    similarity = tuned @ tuned.T
    np.fill_diagonal(similarity, -2)
    nearest = [set(row) for row in np.argsort(-similarity, axis=1)[:, :2].tolist()]
    ids = list(images)
    expected = {
        (min(ids[i], ids[j]), max(ids[i], ids[j])) for i, row in enumerate(nearest) for j in row if i in nearest[j]
    }
    assert {(each.one, each.other) for each in pairs} == expected


@pytest.mark.parametrize("is_sampled", [False, True])
def test_the_map_is_the_one_that_is_fitted_in_memory(store: EdgeStore, jobs: Jobs, is_sampled: bool) -> None:
    images = photos(15, 4)
    plain = fill(store, Head(False), images)
    serving = serving_of(store, Head(False), images)
    job = jobs.create("tune", {}, externally_driven=True)
    common = {"source": "photos", "photos": 60, "is_sampled": False}
    for params in ({"views": VIEWS}, {"neighbours": 1})[: 1 + is_sampled]:
        jobs.collect(job, tuning.find(serving, jobs, Chunk(job, 0, PREFIXES, 1, common | params)))
    fitted, as_new = tuning._fit(jobs, job, 1, UNLABELLED, is_sampled=is_sampled)
    vectors = np.stack([plain[id] for id in images])
    drawn = [embed(np.stack([views(p, VIEWS, int(id, 16))[n] for id, p in images.items()])) for n in range(3)]
    expected = fit_gallery(vectors, drawn)
    assert (fitted.views, fitted.neighbours) == (180, 1)
    similarities, asks = as_new.among(list(images), vectors)
    wanted = of_gallery(expected, UNLABELLED, vectors, drawn)
    assert asks.all() and np.abs(similarities - wanted)[~np.eye(60, dtype=bool)].mean() < 0.02
    assert fitted.pairs == pytest.approx(expected.pairs, abs=2)  # bytes round: of two neighbours alike another may win
    tuned, wanted = (unit_length(each.linear_map(vectors)) for each in (fitted, expected))
    assert (tuned * wanted).sum(axis=1).min() > 0.99
    assert (unit_length(vectors - vectors.mean(0)) * wanted).sum(axis=1).min() < 0.97  # a map that does something
    jobs.forget_findings(job)
    assert jobs.collected(job) == []


def test_a_small_gallery_needs_no_look(store: EdgeStore, jobs: Jobs) -> None:
    serving = serving_of(store, Head(False), {})
    for is_sampled in (False, True):
        job = jobs.create("tune", {}, externally_driven=True)
        state = {"source": "photos", "photos": 60, "is_sampled": is_sampled}
        assert tuning.begin_to_look(serving, jobs, [], job, state) == {"phase": "fit"}
        assert (jobs.pending(job) > 0) == is_sampled


def test_originals_that_cannot_be_read_are_left_out(store: EdgeStore, jobs: Jobs) -> None:
    images = photos(8, 4)
    fill(store, Head(False), images)
    broken = next(iter(images))
    varied, pairs = found(serving_of(store, Head(False), images | {broken: None}), jobs)  # type: ignore[dict-item]
    assert {each.id for each in varied} == images.keys() - {broken}
    assert any(broken in (each.one, each.other) for each in pairs)  # its vector is in the collection


def test_of_a_large_gallery_a_sample_is_varied(store: EdgeStore, jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    images = photos(100, 4)
    fill(store, Head(False), images)
    monkeypatch.setattr(tuning, "SAMPLE", 256)  # one for each prefix
    varied, _ = found(serving_of(store, Head(False), images), jobs, is_sampled=True)
    assert {each.id for each in varied} < images.keys()
    assert len({each.id[:2] for each in varied}) == len(varied)


def test_a_model_that_is_switched_to_meanwhile_begins_again(store: EdgeStore, jobs: Jobs) -> None:
    images = photos(8, 4)
    fill(store, Head(False), images)
    serving = serving_of(store, Head(False), images)
    assert found(serving, jobs, source="another") == ([], [])
    job = jobs.create("tune", {}, externally_driven=True)
    for step in (tuning.begin_to_look, tuning.fit_and_register):
        assert step(serving, jobs, [], job, {"source": "another"}) == {"phase": "vary"}


def begun(
    store: EdgeStore, jobs: Jobs, images: dict[str, np.ndarray], *, force: bool, lineage: dict[str, Any]
) -> JobStatus:
    """What becomes of a job in its first step."""
    fill(store, Head(False), images)
    serving = serving_of(store, Head(False), images)
    serving.active().embedder.bundle.lineage = lineage
    serving.registry = SimpleNamespace(building=list, end_building=lambda job: [], active=lambda: None)
    serving.refresh = lambda: None
    job = jobs.create("tune", {"force": force}, externally_driven=True)
    jobs.describe(job, {"phase": "vary"})
    advance(serving, jobs, [], job)
    return jobs.status(job)


def test_a_gallery_that_is_too_small_ends_the_job_with_the_reason(store: EdgeStore, jobs: Jobs) -> None:
    status = begun(store, jobs, photos(10, 2), force=False, lineage={})
    assert status.state == "failed"
    assert "at least 30 photos" in status.detail["reason"] and "has 20" in status.detail["reason"]


@pytest.mark.parametrize("force", [False, True])
def test_a_gallery_that_taught_the_model_is_left_alone_unless_that_is_forced(
    store: EdgeStore, jobs: Jobs, force: bool
) -> None:
    images = photos(10, 4)
    lineage = {"data": {"photos": packed(images)}, CONFIRMED: {TAUGHT_BEFORE: 0.96, TAUGHT: 0.9}}
    status = begun(store, jobs, images, force=force, lineage=lineage)
    if force:
        assert status.detail["phase"] == "look"
    else:
        assert status.state == "failed"
        assert "100 % of the gallery's photos taught the model" in status.detail["reason"]
        assert "lookalike tune --force" in str(status.detail)
