"""What people do, in containers: over HTTP as visitors, with `exec` as operators."""

import itertools
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.containers.composition import Composition
from tests.containers.engine import PYTHON, Engine
from tests.processes import wait_for

TRAINED_S = 400.0
PROMISED_MB = {"lookalike-web": 350.0, "lookalike-worker": 900.0}


def test_the_images_are_as_large_as_promised(engine: Engine) -> None:
    """Beyond the base image: megabytes."""
    base = engine.megabytes(PYTHON)
    sizes = {image.partition(":")[0]: round(engine.megabytes(image) - base) for image in engine.built()}
    print("megabytes on top of the base image", sizes, "seconds to build", engine.build_seconds)
    assert all(sizes[name] <= most for name, most in PROMISED_MB.items())


def test_our_code_is_one_small_layer(engine: Engine) -> None:
    for image in engine.built():
        sizes = engine("history", "--human=false", "--format", "{{.Size}}", image).split()
        newest = next(int(size) for size in sizes if int(size))
        assert newest < 10e6, image


def test_it_starts_with_two_workers_that_are_healthy(composition: Composition) -> None:
    assert len(composition.health()["workers"]) == 2
    for service in ("worker", "web", "qdrant", "redis", "proxy"):
        for container in composition.containers(service):
            wait_for(lambda container=container: composition.engine.is_healthy(container), 90)
    assert "insecure connection" not in composition.compose("logs", "worker")


def test_photos_are_added_searched_labelled_and_deleted_over_http(composition: Composition, photos: Path) -> None:
    label = sorted(photos.iterdir())[0].name
    chosen = sorted((photos / label).iterdir())[:6]
    files = [("images", (photo.name, photo.read_bytes())) for photo in chosen]
    added = composition.post("/api/v1/images", files=files, data={"label": label, "wait_s": "30"})
    assert added.status_code == 201, added.text
    found = composition.search(chosen[0].read_bytes()).json()["results"]
    assert found[0]["similarity"] > 0.99
    assert composition.search(chosen[0].read_bytes(), composition.proxy).json()["results"] == found
    wrong = composition.search(b"no photo")
    assert wrong.status_code == 422, wrong.text
    id = found[0]["id"]
    renamed = composition.command("label", id, "--as", "renamed")
    assert renamed
    assert composition.get(f"/api/v1/images/{id}").json()["label"] == "renamed"
    composition.command("delete", id)
    assert id not in [each["id"] for each in composition.search(chosen[0].read_bytes()).json()["results"]]


def test_a_collection_is_published_and_rolled_back(composition: Composition, photos: Path) -> None:
    """Without a trainer: the active model makes its collection anew."""
    photo = next(photos.rglob("*.jpg"))
    composition.add(photo)
    before = composition.health()
    composition.command("publish", before["model"], "--force")
    published = composition.health()
    assert (published["model"], published["images"]) == (before["model"], before["images"])
    assert published["collection"] != before["collection"]
    assert composition.search(photo.read_bytes()).json()["results"][0]["similarity"] > 0.99
    composition.command("rollback")
    wait_for(lambda: composition.health()["collection"] == before["collection"])


@pytest.mark.timeout(900)
def test_the_portal_trains_publishes_and_rolls_back(
    trainer: Composition, photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Neither Ray's Jobs API nor a shell is needed: the trainer takes it from the queue."""
    few = tmp_path_factory.mktemp("few")
    few.chmod(0o755)
    for label in sorted(photos.iterdir())[:5]:
        shutil.copytree(label, few / label.name)
    indexing = trainer.index(few, "--label-from", "parent")
    _, errors = indexing.communicate(timeout=300)
    assert indexing.returncode == 0, errors
    before = trainer.health()["model"]
    started = trainer.post_form("/models/train", {"how": "fast", "publish": "1"})
    job = started.rpartition("/")[2]
    states = itertools.takewhile(lambda status: status["state"] == "running", _statuses(trainer, job))
    phases = {str(status["detail"].get("phase")) for status in states}
    ended = trainer.get(f"/api/v1/jobs/{job}").json()
    assert ended["state"] == "done", (ended, trainer.compose("logs", "--tail", "60", "trainer"))
    assert len(phases) > 1, "its progress was shown"
    trained = trainer.health()["model"]
    assert trained == ended["detail"]["model"] != before
    trainer.command("rollback")
    wait_for(lambda: trainer.health()["model"] == before)
    trainer.command("publish", trained, "--force")
    assert trainer.health()["model"] == trained


def _statuses(composition: Composition, job: str) -> Iterator[dict[str, Any]]:
    deadline = time.monotonic() + TRAINED_S
    while time.monotonic() < deadline:
        yield composition.get(f"/api/v1/jobs/{job}").json()
        time.sleep(0.5)


def test_the_trainer_reads_photos_of_the_host_and_stops_with_0(trainer: Composition) -> None:
    listed = trainer.compose("exec", "-T", "trainer", "ls", "/photos").split()
    assert listed
    (container,) = trainer.containers("trainer")
    trainer.compose("stop", "trainer")
    assert trainer.engine.state(container)["ExitCode"] == 0
    trainer.compose("start", "trainer")


def test_a_folder_that_the_trainer_may_not_read_is_one_plain_line(trainer: Composition) -> None:
    refused = trainer.compose_fails("exec", "-T", "trainer", "lookalike", "train", "/root")
    assert refused.count("\n") <= 3, refused
    assert "Permission denied" in refused
