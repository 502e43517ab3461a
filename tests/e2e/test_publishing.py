"""A model is published while people search: no failed search, no mixed answer, nothing missing; and back again."""

import dataclasses
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.cli.find_files import Walk
from deploy.cli.upload_folder import index
from deploy.local.stack import Stack
from ml.errors import LookalikeError, UnknownModel
from ml.model.network import pretrained
from ml.model.save import save_bundle
from workers import settings as settings_of
from workers.client import Busy, Client
from workers.gallery import image_id
from workers.messages import SearchResult


@pytest.fixture(scope="module")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model at 128 px: other vectors, the same dimension."""
    model, preprocessing = pretrained()
    smaller = dataclasses.replace(preprocessing, size_px=128, resize_px=128)
    model, _ = pretrained(preprocessing=smaller)
    folder = tmp_path_factory.mktemp("models") / "small"
    save_bundle(model, folder, name="small")
    return folder


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, demo_photos: Path, small_model: Path) -> Iterator[Client]:
    settings = settings_of.load({"LOOKALIKE_HOME": str(tmp_path_factory.mktemp("publishing"))})
    with Stack(settings, portal=None) as parts:
        client = Client(parts.settings)
        index(client, Walk([demo_photos]), progress=lambda _done, _total: None)
        client.registry.register(small_model, cache_dir=settings.home / "cache" / "compiled")
        yield client


class Searchers:
    """Searches without pause, from some threads, until the block ends."""

    def __init__(self, client: Client, photos: Path) -> None:
        self.answers: list[tuple[str, SearchResult]] = []
        self.failures: list[BaseException] = []
        self._client = client
        self._photos = [(str(path), path.read_bytes()) for path in sorted(photos.rglob("*.jpg"))[:20]]
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(2)]

    def __enter__(self) -> "Searchers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            for path, photo in self._photos:
                try:
                    self.answers.append((path, self._client.search(photo, k=3)))
                except BaseException as failure:
                    self.failures.append(failure)
                time.sleep(0.02)


def test_publishing_under_load_never_shows(client: Client, demo_photos: Path, tmp_path: Path) -> None:
    before = client.active()
    assert before is not None
    late = tmp_path / "late.jpg"
    late.write_bytes(next(demo_photos.rglob("*.jpg")).read_bytes() + b"\0late")  # other bytes, another image
    doomed, relabelled = [image.id for image in client.images(limit=2)[0]]
    with Searchers(client, demo_photos) as searchers:
        job = client.publish("small", force=True)
        with pytest.raises(Busy, match="being published"):
            client.publish("small", force=True)
        # What changes meanwhile must be in the new collection too.
        added = client.add(late, path="late.jpg", label="late").id
        client.wait(client.index([added]))
        client.delete([doomed])
        client.label([relabelled], "relabelled")
        status = client.wait(job, timeout_s=120)
        assert status.state == "done", status
    after = client.active()
    assert after is not None
    assert (after.model, after.collection) != (before.model, before.collection)
    assert not searchers.failures
    pairs = {(answer.model, answer.collection) for _, answer in searchers.answers}
    assert pairs == {(before.model, before.collection), (after.model, after.collection)}
    for path, answer in searchers.answers:  # each photo finds itself: its vector was compared with its own model's
        if image_id(Path(path).read_bytes()) != doomed:
            assert answer.results[0].similarity >= 0.999, path
    assert added in {result.id for result in client.search(id=added, k=2).results}
    assert client.image(relabelled).label == "relabelled"
    assert [r.label for r in client.search(id=relabelled, k=1).results] == ["relabelled"]
    report = client.wait(client.verify())
    assert (report.detail["missing"], report.detail["extra"], report.detail["different"]) == (0, 0, 0)


def test_rolling_back_is_instant_and_brings_what_is_new(client: Client) -> None:
    now, before = client.active(), client.registry.previous()
    assert now is not None
    assert before is not None
    any_image = client.images(limit=1)[0][0].id
    active, job = client.rollback()
    assert client.search(id=any_image, k=1).collection == before.collection
    assert active.model == before.model == client.status().model
    client.wait(job)
    report = client.wait(client.verify())
    assert (report.detail["missing"], report.detail["extra"], report.detail["different"]) == (0, 0, 0)


def test_an_unknown_model_is_not_published(client: Client) -> None:
    with pytest.raises(UnknownModel, match="no model"):
        client.publish("no-such-model")


def test_the_active_model_is_not_published_again(client: Client) -> None:
    active = client.active()
    assert active is not None
    with pytest.raises(LookalikeError, match="active already"):
        client.publish(active.model)


def test_a_stopped_publish_leaves_no_collection_behind(client: Client) -> None:
    before = client.active()
    job = client.publish("small", force=True)
    client.stop(job)
    deadline = time.monotonic() + 15
    while client.registry.building():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert client.active() == before


def test_a_damaged_model_is_refused(small_model: Path, tmp_path: Path, client: Client) -> None:
    import shutil

    from ml.errors import BadBundle

    damaged = tmp_path / "damaged"
    shutil.copytree(small_model, damaged)
    weights = damaged / "network.onnx"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    with pytest.raises(BadBundle, match="not what was saved"):
        client.registry.register(damaged)
