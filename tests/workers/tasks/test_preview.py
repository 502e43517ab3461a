"""What a model that is being published would answer, beside what the active one does."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import redis

from ml.storage import open_storage
from tests.deploy.cli.watching.conftest import photo
from workers.answers import Answers
from workers.errors import NotFound
from workers.gallery import Gallery
from workers.messages import PreviewedQuery
from workers.queue.jobs import Jobs
from workers.saved_queries import SavedQueries
from workers.store import Payload, Point
from workers.store.edge import EdgeStore
from workers.tasks import publish
from workers.tasks.preview import preview


@pytest.fixture
def storage(tmp_path: Path) -> Any:
    return open_storage(f"file://{tmp_path}/storage")


@pytest.fixture
def serving(tmp_path: Path, storage: Any) -> Iterator[Any]:
    """Six images in two collections: in the new one the last of them is where the first was."""
    gallery = Gallery(storage)
    ids = [gallery.add(photo(n), path=f"{n}.png", label="ab"[n % 2]).id for n in range(6)]
    store = EdgeStore(tmp_path / "store")
    angles = {id: 0.1 * n for n, id in enumerate(ids)}
    new = {**angles, ids[5]: 0.05}
    for name, placed in (("old", angles), ("new", new)):
        store.ensure(name, 2)
        points = [
            Point(id, np.float32([np.cos(a), np.sin(a)]), Payload.of(gallery.image(id))) for id, a in placed.items()
        ]
        store.upsert(name, points)
    live = {name: SimpleNamespace(model=name, collection=name, embedder=_Embedder()) for name in ("old", "new")}
    yield SimpleNamespace(
        ids=ids,
        gallery=gallery,
        store=store,
        live_of=live,
        active=lambda: live["old"],
        settings=SimpleNamespace(storage_url=f"file://{tmp_path}/storage"),
        limits=None,
        decoders=SimpleNamespace(decode=lambda data, work: SimpleNamespace(pixels=np.zeros((2, 2)))),
        batcher=SimpleNamespace(embed=lambda embedder, pixels, urgent: np.float32([[1.0, 0.0]])),
    )
    store.close()


class _Embedder:
    preprocessing = None


def previewed(serving: Any) -> dict[str, PreviewedQuery]:
    return {each.name: each for each in preview(serving, serving.live_of["new"])}


def test_it_tells_what_is_gained_lost_and_moved(serving: Any, storage: Any) -> None:
    SavedQueries(storage).keep_image(serving.ids[0], "0.png")
    found = previewed(serving)["0.png"]
    assert found.source == "saved"
    assert serving.ids[0] not in [hit.id for hit in (*found.before, *found.after)], "the query is not its own answer"
    first = found.after[0]
    assert first.id == serving.ids[5]
    assert (first.change, first.rank, first.other_rank) == ("moved", 1, 5)


def test_answers_of_people_say_what_is_right_and_labels_the_rest(serving: Any, storage: Any) -> None:
    Answers(storage).give(serving.ids[0], serving.ids[5], True)  # their labels differ
    found = previewed(serving)["0.png"]
    assert found.source == "answered"
    assert {hit.id: hit.is_right for hit in found.after}[serving.ids[5]] is True
    assert found.right_after == 3  # this one, and two of the same label


def test_a_photo_that_is_no_image_of_the_gallery_is_asked_too(serving: Any, storage: Any) -> None:
    SavedQueries(storage).keep_photo(photo(99), "mine.png")
    assert previewed(serving)["mine.png"].source == "photo"


def test_without_saved_queries_some_are_drawn(serving: Any) -> None:
    assert {each.source for each in previewed(serving).values()} == {"drawn"}


def test_saved_queries_are_listed_and_forgotten(storage: Any) -> None:
    queries = SavedQueries(storage)
    kept = queries.keep_photo(photo(1), "one.png")
    assert queries.photo(kept.id) == photo(1)
    assert [each.name for each in queries.all()] == ["one.png"]
    queries.forget(kept.id)
    assert queries.all() == []
    with pytest.raises(NotFound):
        queries.photo(kept.id)


def test_a_publish_with_a_preview_waits_until_it_is_confirmed(serving: Any, queue: redis.Redis) -> None:
    jobs = Jobs(queue)
    job = jobs.create("publish", {"model": "new", "collection": "new", "preview": True}, externally_driven=True)
    jobs.describe(job, {"phase": "preview"})
    serving.live = lambda model, collection: serving.live_of["new"]
    publish.advance(serving, jobs, [], job)
    assert jobs.status(job).detail["previewed"] == 6
    assert len(jobs.collected(job)) == 6
    publish.advance(serving, jobs, [], job)
    assert jobs.status(job).detail["phase"] == "preview"
    jobs.set_params(job, jobs.params(job) | {"is_confirmed": True})
    publish.advance(serving, jobs, [], job)
    assert jobs.status(job).detail["phase"] == "graph"
