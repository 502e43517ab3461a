"""Down and up, an upgrade under load, a backup and a restore, object storage: what an operator does."""

import time
from pathlib import Path

import pytest

from tests.containers.composition import Composition, Load
from tests.containers.engine import VERSION
from tests.processes import wait_for


@pytest.mark.timeout(400)
def test_an_upgrade_fails_no_search(composition: Composition, photos: Path) -> None:
    """As docs/operations.md has it: workers first, then the portal, through the proxy, at five searches a second."""
    composition.add(next(photos.rglob("*.jpg")))
    photo = next(photos.rglob("*.jpg")).read_bytes()
    before = {service: set(composition.containers(service)) for service in ("worker", "web")}
    for image in composition.engine.built():
        composition.engine("tag", image, f"{image}.1")
    composition.settings["LOOKALIKE_VERSION"] = f"{VERSION}.1"
    with Load(composition, photo, composition.proxy) as load:
        wait_for(lambda: len(load.answers) > 10)
        composition.compose("up", "--detach", "--no-deps", "--no-recreate", "--scale", "worker=4", "worker")
        wait_for(lambda: len(composition.health().get("workers", [])) == 4, timeout_s=120)
        for service in ("worker", "web"):
            composition.compose("up", "--detach", "--no-deps", service)
            composition.wait_until_ready()
        done_at = time.monotonic()
        assert load.recovered_s(done_at, 30) < 30
    slowest_s = max(answer.answered_at - answer.sent_at for answer in load.answers)
    print(f"{len(load.answers)} searches, {len(load.failed())} failed, the slowest took {slowest_s:.1f} s")
    assert [(answer.status, answer.detail) for answer in load.failed()] == []
    assert all(not before[service] & set(composition.containers(service)) for service in before)


@pytest.mark.timeout(300)
def test_down_and_up_keeps_photos_and_the_number_of_workers(composition: Composition) -> None:
    images = composition.health()["images"]
    composition.compose("down", "--timeout", "20")
    seconds = composition.up()
    print(f"everything answered {seconds:.1f} s after `up --detach`")
    wait_for(lambda: composition.health().get("images") == images)
    assert composition.health()["problems"] == []
    assert len(composition.containers("worker")) == 2


@pytest.mark.timeout(300)
def test_what_is_deleted_comes_back_from_a_backup(composition: Composition) -> None:
    composition.command("backup", "/data/backup")
    images = composition.health()["images"]
    ids = [each["id"] for each in composition.get("/api/v1/images", params={"limit": 3}).json()["images"]]
    composition.command("delete", *ids)
    composition.command("restore", "/data/backup")
    wait_for(lambda: composition.health()["images"] == images)
    assert composition.get(f"/api/v1/images/{ids[0]}").status_code == 200


@pytest.mark.timeout(300)
def test_photos_are_kept_in_an_object_store(composition: Composition, photos: Path) -> None:
    """The last test of all: it leaves another gallery behind."""
    composition.settings |= {"COMPOSE_PROFILES": "proxy,s3", "LOOKALIKE_STORAGE": "s3://lookalike/gallery"}
    composition.compose("up", "--detach")
    composition.wait_until_ready()
    photo = next(photos.rglob("*.jpg"))
    composition.add(photo)
    (best, *_) = composition.search(photo.read_bytes()).json()["results"]
    original = composition.get(f"/api/v1/images/{best['id']}/original")
    assert original.content == photo.read_bytes()
