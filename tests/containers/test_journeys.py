"""What people do, in containers: over HTTP as visitors, with `exec` as operators."""

import itertools
import shutil
import time
from pathlib import Path

import pytest

from tests.containers.composition import Composition
from tests.containers.engine import VERSION, Engine
from tests.processes import wait_for

BASE = "python:3.11-slim-bookworm"
TRAINED_S = 400.0


def test_the_images_are_as_large_as_promised(engine: Engine, record_property) -> None:
    """Beyond the base image: megabytes."""
    base = engine.megabytes(BASE)
    sizes = {name: engine.megabytes(f"lookalike-{name}:{VERSION}") - base for name in ("web", "worker", "trainer")}
    print("megabytes on top of the base image", sizes, "seconds to build", engine.build_seconds)
    assert sizes["web"] <= 350
    assert sizes["worker"] <= 900


def test_our_code_is_one_small_layer(engine: Engine) -> None:
    for name in ("web", "worker", "trainer"):
        sizes = engine("history", "--human=false", "--format", "{{.Size}}", f"lookalike-{name}:{VERSION}").split()
        newest = next(int(size) for size in sizes if int(size))
        assert newest < 10e6, name


def test_it_starts_with_two_workers_that_are_healthy(composition: Composition) -> None:
    assert len(composition.health()["workers"]) == 2
    for service in ("worker", "web", "qdrant", "redis", "proxy"):
        for container in composition.containers(service):
            wait_for(lambda container=container: composition.state(container)["Health"]["Status"] == "healthy", 90)
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
    id = found[0]["id"]
    renamed = composition.command("label", id, "--as", "renamed")
    assert renamed
    assert composition.get(f"/api/v1/images/{id}").json()["label"] == "renamed"
    composition.command("delete", id)
    assert id not in [each["id"] for each in composition.search(chosen[0].read_bytes()).json()["results"]]


@pytest.mark.timeout(900)
def test_the_portal_trains_publishes_and_rolls_back(
    composition: Composition, photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Neither Ray's Jobs API nor a shell is needed: the trainer takes it from the queue."""
    few = tmp_path_factory.mktemp("few")
    few.chmod(0o755)
    for label in sorted(photos.iterdir())[:5]:
        shutil.copytree(label, few / label.name)
    indexing = composition.index(few, "--label-from", "parent")
    _, errors = indexing.communicate(timeout=300)
    assert indexing.returncode == 0, errors
    before = composition.health()["model"]
    started = composition.post_form("/models/train", {"how": "fast", "publish": "1"})
    job = started.rpartition("/")[2]
    states = itertools.takewhile(lambda status: status["state"] == "running", _statuses(composition, job))
    phases = {str(status["detail"].get("phase")) for status in states}
    ended = composition.get(f"/api/v1/jobs/{job}").json()
    assert ended["state"] == "done", (ended, composition.compose("logs", "--tail", "60", "trainer"))
    assert len(phases) > 1, "its progress was shown"
    trained = composition.health()["model"]
    assert trained == ended["detail"]["model"] != before
    composition.command("rollback")
    wait_for(lambda: composition.health()["model"] == before)
    composition.command("publish", trained, "--force")
    assert composition.health()["model"] == trained


def _statuses(composition: Composition, job: str):
    deadline = time.monotonic() + TRAINED_S
    while time.monotonic() < deadline:
        yield composition.get(f"/api/v1/jobs/{job}").json()
        time.sleep(0.5)


def test_the_trainer_reads_photos_of_the_host_and_stops_with_0(composition: Composition) -> None:
    listed = composition.compose("exec", "-T", "trainer", "ls", "/photos").split()
    assert listed
    (container,) = composition.containers("trainer")
    composition.compose("stop", "trainer")
    assert composition.state(container)["ExitCode"] == 0
    composition.compose("start", "trainer")


def test_a_folder_that_the_trainer_may_not_read_is_one_plain_line(composition: Composition) -> None:
    refused = composition.compose_fails("exec", "-T", "trainer", "lookalike", "train", "/root")
    assert refused.count("\n") <= 3, refused
    assert "Permission denied" in refused
