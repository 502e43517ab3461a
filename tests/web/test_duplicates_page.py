"""The page of duplicates: one of a group is kept, the others go into the trash; what are none is remembered."""

import re

from tests.web.forms import post
from tests.web.test_duplicates_api import copies  # noqa: F401 - a fixture

GROUPS = "/api/v1/duplicates/groups"


def test_before_anybody_looked_the_page_says_what_will_be_found(browser):
    assert "Look for duplicates" in browser.get("/duplicates").text


def test_the_photo_with_the_most_pixels_is_suggested(browser, copies):  # noqa: F811
    assert post(browser, "/duplicates/find").status_code == 302
    page = browser.get("/duplicates").text
    assert re.search(r'value="(\w+)" checked', page)[1] in (copies["photo"], copies["mirrored"])
    (group,) = browser.get(GROUPS).json["groups"]
    assert {each["image"]["name"] for each in group["copies"]} | {group["best"]["name"]} == {
        *("photo.jpg", "small.jpg", "mirrored.jpg")
    }
    assert group["tier"] == "near-copy"


def test_one_is_kept_and_the_rest_come_back_by_undo(browser, copies, workers_side):  # noqa: F811
    post(browser, "/duplicates/find")
    ids = [copies[name] for name in ("photo", "small", "mirrored")]
    post(browser, "/duplicates", keep=copies["photo"], ids=ids, action="keep")
    page = browser.get("/duplicates").text
    assert "2 copies moved to the trash." in page
    assert "No duplicates were found." in page
    assert set(workers_side.gallery.ids()) == {copies["photo"], copies["other"]}
    post(browser, "/undo", job=re.search(r'name="job" value="([^"]+)" data-undo', page)[1])
    assert len(list(workers_side.gallery.ids())) == 4


def test_nothing_is_deleted_when_the_one_to_keep_is_gone(browser, copies, workers_side):  # noqa: F811
    workers_side.delete([copies["photo"]])
    ids = [copies[name] for name in ("photo", "small")]
    post(browser, "/duplicates", keep=copies["photo"], ids=ids, action="keep")
    assert "nothing was changed" in browser.get("/duplicates").text
    assert copies["small"] in set(workers_side.gallery.ids())


def test_what_are_no_duplicates_is_remembered_by_content(browser, copies, workers_side):  # noqa: F811
    post(browser, "/duplicates/find")
    ids = [copies[name] for name in ("photo", "small", "mirrored")]
    post(browser, "/duplicates", ids=ids, action="apart")
    assert browser.get(GROUPS).json["groups"] == []
    post(browser, "/duplicates/find")
    assert browser.get(GROUPS).json["groups"] == []
    assert workers_side.answers.count() == 0, "it says nothing of what they show"
    assert browser.put("/api/v1/duplicates/apart", json={"ids": ids, "apart": False}).status_code == 204
    assert len(browser.get(GROUPS).json["groups"]) == 1


def test_what_are_no_duplicates_is_said_of_a_hundred_at_once_at_most(browser, workers_side):
    ids = [f"{number:032x}" for number in range(101)]
    for few in (ids, ids[:1], ids[:1] * 2):
        assert post(browser, "/duplicates", ids=few, action="apart").status_code == 422
        assert browser.put("/api/v1/duplicates/apart", json={"ids": few}).status_code == 422
    assert browser.put("/api/v1/duplicates/apart", json={"ids": ids[:100]}).status_code == 204


def test_the_api_keeps_one(browser, copies, workers_side):  # noqa: F811
    asked = {"keep": copies["photo"], "ids": [copies["photo"], copies["small"]]}
    assert browser.post("/api/v1/duplicates/keep", json=asked).json["changed"] == [copies["small"]]
    assert copies["photo"] in set(workers_side.gallery.ids())
