"""/api/v1/duplicates: copies are looked for by a job, and listed."""

import io

import pytest
from PIL import Image, ImageOps

from deploy.demo_photos import make

URL = "/api/v1/duplicates"


@pytest.fixture
def copies(workers_side, tmp_path):
    """name -> id: a photo, the same saved anew, its mirror image, and another photo."""
    first, other = (Image.open(path) for path in make(tmp_path, products=2, views=1))
    photos = {"photo": first, "small": first.resize((128, 128)), "mirrored": ImageOps.mirror(first), "other": other}
    ids = {}
    for name, image in photos.items():
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=80)
        ids[name] = workers_side.add(buffer.getvalue(), path=f"{name}.jpg", label=None).id
    workers_side.index(ids.values())
    return ids


def listed(browser, **query):
    return browser.get(URL, query_string=query).json


def test_nothing_is_claimed_before_anybody_looked(browser):
    assert listed(browser) == {"job": None, "state": None, "done": 0, "pairs": []}


def test_copies_are_found_with_their_tier_and_those_that_are_deleted_are_left_out(browser, copies):
    job = browser.post(URL, json={})
    assert (job.status_code, job.json["kind"]) == (202, "duplicates")
    found = listed(browser)
    assert (found["job"], found["state"]) == (job.json["job"], "done")
    tiers = {frozenset((pair["id"], pair["other_id"])): pair["tier"] for pair in found["pairs"]}
    photo, small, mirrored = (copies[name] for name in ("photo", "small", "mirrored"))
    assert tiers == {
        frozenset((photo, small)): "same-image",
        frozenset((photo, mirrored)): "near-copy",
        frozenset((small, mirrored)): "near-copy",
    }
    assert {pair["tier"] for pair in listed(browser, tier="same-image")["pairs"]} == {"same-image"}
    browser.delete(f"/api/v1/images/{photo}")
    assert [{pair["id"], pair["other_id"]} for pair in listed(browser)["pairs"]] == [{small, mirrored}]


@pytest.mark.parametrize("query", [{"tier": "nearly"}])
def test_a_tier_that_is_none_is_refused(browser, query):
    assert browser.get(URL, query_string=query).status_code == 422
    assert browser.post(URL, json={"score_from": 0.1}).status_code == 422
