"""Collections follow the gallery, and what is counted is what happened, also when a worker dies in the middle."""

import io
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import redis
from celery import Celery
from PIL import Image

from ml.decoders import Decoders
from ml.images import Limits
from ml.model.head import Head, LinearMap
from ml.preprocessing import Preprocessing
from ml.storage import LocalStorage
from tests.workers.dying import Killed, run, start
from workers.gallery import Gallery
from workers.messages import JobStatus
from workers.process.batching import Batcher
from workers.process.serving import ServingModel
from workers.queue.jobs import CHUNK, MAX_ATTEMPTS, Jobs
from workers.queue.liveness import worker_key
from workers.store import Payload, Point
from workers.store.edge import EdgeStore
from workers.tasks import chunks
from workers.tasks import reconcile as reconcile_module
from workers.tasks.context import Context
from workers.tasks.reconcile import chunk_size, reconcile


class Mortal:
    """A store whose worker dies right after the next calls of one method, `deaths` times."""

    def __init__(self, store: EdgeStore) -> None:
        self.store = store
        self.method = ""
        self.deaths = 0

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            result = getattr(self.store, name)(*args, **options)
            if name == self.method and self.deaths > 0:
                self.deaths -= 1
                raise Killed
            return result

        return call


class Brightness:
    """A model of two dimensions."""

    dim = 2
    largest_batch = 32
    side_by_side = 1
    device = "cpu"
    bundle: Any = SimpleNamespace(name="brightness", lineage={})
    preprocessing = Preprocessing(8, 8, "squash", "bilinear", (0.5, 0.5, 0.5), (1.0, 1.0, 1.0), mirror=False)

    def embed_arrays(self, pixels: np.ndarray) -> np.ndarray:
        mean = pixels.reshape(len(pixels), -1).mean(axis=1) / 255
        return np.stack([np.cos(mean), np.sin(mean)], axis=1).astype(np.float32)


def photo(value: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (16, 16), (value, value, value)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def context(queue: redis.Redis, tmp_path: Path) -> Iterator[Context]:
    store = EdgeStore(tmp_path / "store")
    store.ensure("photos", 2)
    batcher = Batcher()
    model: Any = Brightness()
    live = ServingModel("model", "photos", model)
    decoders = Decoders()
    with ThreadPoolExecutor(2) as preparers:
        serving: Any = SimpleNamespace(
            store=Mortal(store),
            gallery=Gallery(LocalStorage(tmp_path / "storage"), Limits()),
            batcher=batcher,
            decoders=decoders,
            preparers=preparers,
            decode_step=4,
            limits=Limits(),
            targets=lambda: (live,),
            active=lambda: live,
            retained=tuple,
        )
        heartbeat: Any = SimpleNamespace(worker="w", beat=lambda: None)
        queue.set(worker_key("w"), "{}")
        yield Context(Celery(set_as_current=False), queue, Jobs(queue), serving, heartbeat)
    decoders.close()
    batcher.close()
    store.close()


@pytest.fixture
def ids(context: Context) -> list[str]:
    """Three images that are new, two with another label than their points, two that are gone, one as it was."""
    gallery, store = context.serving.gallery, context.serving.store
    found = [gallery.add(photo(20 * n), path=f"{n}.png", label="new").id for n in range(8)]
    north = np.array([1, 0], np.float32)

    def described(n: int, label: str) -> Payload:
        return replace(Payload.of(gallery.image(found[n])), label=label)

    labels = {3: "old", 4: "old", 5: "new", 6: "new", 7: "new"}
    store.upsert("photos", [Point(found[n], north, described(n, label)) for n, label in labels.items()])
    for id in found[5:7]:
        gallery.forget(id)
    return found


def work(context: Context, ids: list[str]) -> JobStatus:
    job = start(context.jobs, ids)
    run(context, job)
    assert not context.redis.exists(f"lookalike:job:{job}:intents"), "what was intended is forgotten with its chunk"
    return context.jobs.status(job)


def check(context: Context, ids: list[str], status: JobStatus) -> None:
    assert (status.added, status.updated, status.removed, status.unchanged) == (3, 2, 2, 1)
    assert (status.done, status.failed) == (8, 0)
    points = context.serving.store.fetch("photos", ids)
    assert set(points) == {id for n, id in enumerate(ids) if n not in (5, 6)}
    assert {point.payload.label for point in points.values()} == {"new"}


@pytest.mark.parametrize("method", ["", "delete", "set_payloads", "upsert"])
def test_what_a_dead_worker_had_done_is_counted(context: Context, ids: list[str], method: str) -> None:
    context.serving.store.method, context.serving.store.deaths = method, 1
    check(context, ids, work(context, ids))


def test_it_is_counted_when_the_images_are_then_tried_one_by_one(
    context: Context, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workers die with everything done, before they can say so."""
    finish, deaths = context.jobs.finish, MAX_ATTEMPTS

    def die(*args: Any) -> bool:
        nonlocal deaths
        deaths -= 1
        if deaths >= 0:
            raise Killed
        return finish(*args)

    monkeypatch.setattr(context.jobs, "finish", die)
    check(context, ids, work(context, ids))


def test_a_run_that_counts_as_dead_and_is_not_takes_no_count_from_the_next(
    context: Context, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have claimed the chunk before either noted what it is about to do; the second one finishes first."""
    job = start(context.jobs, ids)
    (number,) = context.jobs.due(job, width=1)
    first = context.jobs.claim(job, number, "w")
    context.redis.delete(worker_key("w"))
    context.jobs.due(job, width=0)
    context.redis.set(worker_key("w"), "{}")
    second = context.jobs.claim(job, number, "w")
    assert first and second
    upsert = context.serving.store.store.upsert

    def upsert_and_be_overtaken(*args: Any) -> None:
        upsert(*args)
        monkeypatch.undo()
        chunks.work(context, second)

    monkeypatch.setattr(context.serving.store.store, "upsert", upsert_and_be_overtaken)
    chunks.work(context, first)
    check(context, ids, context.jobs.status(job))


def test_a_second_job_finds_nothing_to_do(context: Context, ids: list[str]) -> None:
    work(context, ids)
    status = work(context, ids)
    assert (status.added, status.updated, status.removed, status.unchanged) == (0, 0, 0, 8)


class TestWhatChangesMeanwhile:
    """A person deletes or relabels an image after it was read and before its point is written."""

    @pytest.fixture
    def between(self, context: Context) -> Callable[[Callable[[], None]], None]:
        """Something that happens once, right before points are written."""

        def between(happens: Callable[[], None]) -> None:
            store, waiting = context.serving.store.store, [happens]
            upsert = store.upsert

            def upsert_late(collection: str, points: Sequence[Point]) -> None:
                if waiting:
                    waiting.pop()()
                upsert(collection, points)

            store.upsert = upsert_late

        return between

    def test_an_image_that_is_deleted_leaves_no_point(
        self, context: Context, ids: list[str], between: Callable[[Callable[[], None]], None]
    ) -> None:
        between(lambda: context.serving.gallery.forget(ids[0]))
        work(context, ids)
        assert context.serving.store.fetch("photos", [ids[0]]) == {}
        assert ids[1] in context.serving.store.fetch("photos", [ids[1]])

    def test_an_image_that_is_relabelled_carries_the_new_label(
        self, context: Context, ids: list[str], between: Callable[[Callable[[], None]], None]
    ) -> None:
        between(lambda: context.serving.gallery.set_label(ids[0], "newest"))
        work(context, ids)
        assert context.serving.store.fetch("photos", [ids[0]])[ids[0]].payload.label == "newest"

    def test_an_image_that_is_removed_for_good_leaves_no_thumbnail(
        self, context: Context, ids: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gallery = context.serving.gallery
        keep = gallery.put_thumbnails

        def removed_first(thumbnails: Mapping[str, bytes]) -> None:
            gallery.forget(ids[0])
            gallery.sweep(ids[0])
            keep(thumbnails)

        monkeypatch.setattr(gallery, "put_thumbnails", removed_first)
        work(context, ids)
        assert [gallery.has_thumbnail(id) for id in ids[:2]] == [False, True]

    @pytest.mark.parametrize("is_known", [True, False], ids=["being built", "retained"])
    def test_a_collection_that_is_dropped_meanwhile_is_no_fault_of_the_job(
        self, context: Context, ids: list[str], monkeypatch: pytest.MonkeyPatch, is_known: bool
    ) -> None:
        """A publish was stopped, or a collection is not needed for a rollback any more."""
        serving, store = context.serving, context.serving.store
        store.ensure("other", 2)
        other = replace(serving.active(), collection="other")
        live, retained = [serving.active(), other][: 1 + is_known], ["other"][is_known:]
        monkeypatch.setattr(serving, "targets", lambda: tuple(live))
        monkeypatch.setattr(serving, "retained", lambda: tuple(retained))
        fetch = store.store.fetch

        def refresh() -> None:
            live[1:], retained[:] = [], []

        def dropped_first(collection: str, *args: Any, **options: Any) -> Any:
            if collection == "other":
                store.drop("other")
            return fetch(collection, *args, **options)

        monkeypatch.setattr(serving, "refresh", refresh, raising=False)
        monkeypatch.setattr(store.store, "fetch", dropped_first)
        check(context, ids, work(context, ids))

    def test_a_collection_that_is_missing_and_wanted_is_told(self, context: Context, ids: list[str]) -> None:
        context.serving.refresh = lambda: None
        context.serving.store.drop("photos")
        job = start(context.jobs, ids)
        run(context, job)
        status = context.jobs.status(job)
        assert (status.state, status.detail["reason"]) == ("failed", "there is no collection photos")


class Tuned(Brightness):
    """The same network with a map of finished vectors; it cannot embed."""

    def __init__(self, angle: float) -> None:
        turn = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        shift = np.array([0.2, -0.1], np.float32)
        self.head = Head(False, tuning=(LinearMap(np.array(turn, np.float32), shift),))
        self.bundle = SimpleNamespace(has_network_of=lambda other: True)

    def embed_arrays(self, pixels: np.ndarray) -> np.ndarray:
        raise AssertionError("nothing is embedded again")


def test_the_collection_of_a_model_that_differs_in_its_tuning_is_projected(context: Context) -> None:
    serving: Any = context.serving
    ids = [serving.gallery.add(photo(30 * n), path=f"{n}.png", label=None).id for n in range(5)]
    reconcile(serving, ids)
    plain, tuned, again = serving.active(), Tuned(0.5), Tuned(-0.3)
    plain.embedder.head, plain.embedder.bundle = Head(False), tuned.bundle
    for model, collection in ((tuned, "tuned"), (again, "again")):
        serving.store.ensure(collection, 2)
        target = ServingModel(collection, collection, model)
        assert reconcile(serving, ids, target).counts["added"] == 5
        before = serving.store.fetch("photos", ids, with_vectors=True)
        after = serving.store.fetch(collection, ids, with_vectors=True)
        for id in ids:
            assert after[id].vector == pytest.approx(model.head.tune(before[id].vector[None])[0], abs=1e-5)
        serving.active = lambda target=target: target  # the next one is projected from this one


def test_projected_images_make_larger_chunks(context: Context) -> None:
    serving: Any = context.serving
    plain, tuned = serving.active(), Tuned(0.5)
    plain.embedder.head, plain.embedder.bundle = Head(False), tuned.bundle
    assert chunk_size(serving, ServingModel("tuned", "tuned", tuned)) > CHUNK
    tuned.bundle = plain.embedder.bundle = SimpleNamespace(has_network_of=lambda other: False)
    assert chunk_size(serving, ServingModel("other", "other", tuned)) == CHUNK


def test_an_image_that_the_active_collection_lacks_is_embedded(context: Context) -> None:
    serving: Any = context.serving
    id = serving.gallery.add(photo(80), path="new.png", label=None).id
    tuned = Tuned(0.0)
    plain = serving.active()
    plain.embedder.head, plain.embedder.bundle = Head(False), tuned.bundle
    serving.store.ensure("tuned", 2)
    outcome = reconcile(serving, [id], ServingModel("tuned", "tuned", EmbeddingTuned()))
    assert outcome.counts["added"] == 1


class EmbeddingTuned(Tuned):
    """Embeds like any model."""

    def __init__(self) -> None:
        super().__init__(0.0)

    embed_arrays = Brightness.embed_arrays


def test_an_image_that_takes_long_is_no_sign_that_its_worker_died(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one image of a chunk is decoded the claim is renewed: nobody takes the chunk, and nothing is put aside."""
    gallery = context.serving.gallery
    ids = [gallery.add(photo(20 * n), path=f"{n}.png", label=None).id for n in range(3)]
    renewed = threading.Event()
    prepare = reconcile_module._prepare

    def slow(serving: Any, target: Any, image: Any) -> Any:
        if image.id == ids[1]:
            assert renewed.wait(30)
        return prepare(serving, target, image)

    monkeypatch.setattr(reconcile_module, "_RENEWED_S", 0.05)
    monkeypatch.setattr(reconcile_module, "_prepare", slow)
    outcome = reconcile_module.reconcile(context.serving, ids, renew=renewed.set)
    assert (outcome.counts["added"], outcome.failures) == (3, [])


def test_thumbnails_are_on_the_disk_before_any_point_is_written(
    context: Context, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody makes the thumbnail of an image that has its point."""
    serving, written = context.serving, []
    upsert = serving.store.upsert

    def noted(collection: str, points: Any) -> None:
        written.extend(serving.gallery.has_thumbnail(point.id) for point in points)
        upsert(collection, points)

    monkeypatch.setattr(serving.store, "upsert", noted, raising=False)
    reconcile(serving, ids)
    assert written == 3 * [True]
