"""/api/v1/changes and /api/v1/trash: many images at once, undo, and the trash."""

import io

import pytest

from tests.web.stand_in import photo

URL = "/api/v1/changes"


def change(browser, action, *ids, label=None):
    return browser.post(URL, json={"action": action, "ids": list(ids), "label": label})


@pytest.mark.parametrize("action, label", [("label", "both"), ("remove_label", None), ("delete", None)])
def test_a_change_is_made_and_undone(browser, workers_side, red, blue, action, label):
    before = {id: workers_side.image(id) for id in (red, blue)}
    done = change(browser, action, red, blue, label=label).json
    assert (sorted(done["changed"]), done["missing"]) == (sorted([red, blue]), [])
    if action != "delete":
        assert {workers_side.image(id).label for id in (red, blue)} == {label}
    assert browser.post(f"{URL}/{done['job']}/undo").json == {"restored": 2}
    assert {id: workers_side.image(id) for id in (red, blue)} == before
    assert browser.post(f"{URL}/{done['job']}/undo").status_code == 404


def test_what_is_no_longer_there_is_named_and_stops_nothing(browser, red):
    done = change(browser, "delete", red, "0" * 32, "../x").json
    assert (done["changed"], done["missing"]) == ([red], ["0" * 32, "../x"])
    again = change(browser, "delete", red).json
    assert (again["job"], again["changed"], again["missing"]) == (None, [], [red])
    assert again["skipped"] == [{"id": red, "name": "cherry.jpg", "reason": "it is in the trash"}]


@pytest.mark.parametrize("asked", [("label", None), ("label", "  "), ("explode", None)])
def test_a_change_that_makes_no_sense_is_422(browser, workers_side, red, asked):
    assert change(browser, asked[0], red, label=asked[1]).status_code == 422
    assert workers_side.image(red).label == "red"


def test_the_trash_is_listed_restored_and_emptied(browser, workers_side, red, blue):
    browser.delete(f"/api/v1/images/{red}")
    change(browser, "delete", blue)
    listed = browser.get("/api/v1/trash").json
    assert ([image["id"] for image in listed["images"]], listed["total"]) == ([blue, red], 2)
    assert listed["images"][0]["expires_at"] - listed["images"][0]["deleted_at"] == 30 * 86_400
    assert browser.post("/api/v1/trash/restore", json={"ids": [red]}).json["restored"] == 1
    assert workers_side.image(red).label == "red"
    assert browser.post("/api/v1/trash/empty", json={"ids": [red]}).status_code == 404
    assert browser.post("/api/v1/trash/empty", json={}).json["removed"] == 1
    assert list(workers_side.gallery.originals.ids()) == [red]
    assert browser.post("/api/v1/trash/restore", json={"ids": [blue]}).status_code == 404


def test_sending_the_photo_again_restores_it_and_says_so(browser, red):
    browser.delete(f"/api/v1/images/{red}")
    answer = browser.post("/api/v1/images", data={"images": [(io.BytesIO(photo((200, 30, 30))), "cherry.jpg")]})
    assert answer.json["images"][0]["outcome"] == "restored"
    assert browser.get(f"/api/v1/images/{red}").json["label"] == "red"


@pytest.mark.parametrize("by, kept", [("crimson", "crimson"), ("blue", "blue"), (None, None)], ids=str)
def test_a_label_is_renamed_merged_or_removed_and_comes_back(browser, workers_side, red, blue, by, kept):
    done = browser.post("/api/v1/labels/replace", json={"label": "red", "by": by}).json
    assert (done["changed"], workers_side.image(red).label, workers_side.image(blue).label) == (1, kept, "blue")
    browser.post(f"{URL}/{done['job']}/undo")
    assert (workers_side.image(red).label, workers_side.image(blue).label) == ("red", "blue")
    assert browser.post("/api/v1/labels/replace", json={"label": "nobody's", "by": by}).status_code == 404


def test_ids_in_a_body_that_nothing_reads_do_not_empty_the_whole_trash(browser, workers_side, red, blue):
    change(browser, "delete", red, blue)
    assert browser.post("/api/v1/trash/empty", data={"ids": [red]}).status_code == 415
    assert browser.get("/api/v1/trash").json["total"] == 2


def test_ten_thousand_images_fit_into_one_request(browser, red):
    ids = [f"{number:032x}" for number in range(9_999)]
    done = change(browser, "delete", red, *ids)
    assert (done.status_code, done.json["changed"], len(done.json["missing"])) == (200, [red], 9_999)
