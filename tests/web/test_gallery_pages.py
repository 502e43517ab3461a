"""The gallery, its labels and its trash without JavaScript."""

import re

import pytest

from tests.web.conftest import keep
from tests.web.forms import csrf_token, post


class TestGallery:
    def test_it_shows_images_and_labels(self, browser, red, blue):
        page = browser.get("/gallery").text
        assert f"/images/{red}" in page
        assert "/gallery?label=blue" in page

    def test_it_shows_one_label(self, browser, red, blue):
        page = browser.get("/gallery?label=blue").text
        assert f"/images/{blue}" in page
        assert f"/images/{red}" not in page

    def test_it_has_pages(self, browser, workers_side):
        for n in range(61):
            keep(workers_side, (4 * n, 255 - 4 * n, 128), f"{n}.jpg", None)
        first = browser.get("/gallery").text
        second = browser.get(re.search(r'rel="next" href="([^"]+)"', first)[1].replace("&amp;", "&")).text
        assert first.count("/thumbnail") == 60
        assert second.count("/thumbnail") == 1
        assert 'rel="next"' not in second

    def test_an_empty_one_says_what_to_do(self, browser):
        empty = browser.get("/gallery").text
        assert "The gallery is empty" in empty and 'class="button primary" href="/add"' in empty
        assert 'name="added_from"' not in empty, "there is nothing to filter"
        assert "No photo matches these filters" in browser.get("/gallery?label=none").text

    def test_a_photos_page_shows_it_large(self, browser, red):
        assert f'<img class="large" src="/api/v1/images/{red}/view" alt=""' in browser.get(f"/images/{red}").text

    def test_the_newest_come_first(self, browser, red, blue):
        page = browser.get("/gallery").text
        assert page.index(f'data-id="{blue}"') < page.index(f'data-id="{red}"')

    @pytest.mark.parametrize(
        "query, shown",
        [
            ("text=CHER", "red"),
            ("text=blue+sky", "blue"),
            ("folder=reds", "red"),
            ("unlabelled=1", None),
            ("added_from=2001-01-01&label=blue", "blue"),
            ("added_to=2001-01-01", None),
            ("added_from=yesterday&label=red", "red"),
        ],
    )
    def test_the_address_selects(self, browser, red, blue, query, shown):
        page = browser.get(f"/gallery?{query}").text
        ids = {"red": red, "blue": blue}
        assert [name for name, id in ids.items() if f'data-id="{id}"' in page] == ([shown] if shown else [])
        assert "Remove this filter" in page

    def test_pages_keep_the_filters(self, browser, workers_side):
        for n in range(61):
            keep(workers_side, (4 * n, 255 - 4 * n, 128), f"{n}.jpg", "many")
        following = re.search(r'rel="next" href="([^"]+)"', browser.get("/gallery?label=many").text)[1]
        assert "label=many" in following
        assert browser.get(following.replace("&amp;", "&")).text.count("/thumbnail") == 1

    def test_chosen_images_are_labelled(self, browser, workers_side, red, blue):
        answer = post(browser, "/images", "/gallery?label=red", ids=[red, blue], action="label", label="both")
        assert (answer.status_code, answer.headers["Location"]) == (302, "/gallery?label=red")
        assert {workers_side.image(id).label for id in (red, blue)} == {"both"}
        assert "2 photos labelled both." in browser.get("/gallery").text

    def test_chosen_images_are_deleted(self, browser, red, blue):
        post(browser, "/images", "/gallery", ids=[red], action="delete")
        assert browser.get(f"/images/{red}").status_code == 404
        assert browser.get(f"/images/{blue}").status_code == 200

    def test_after_deleting_on_its_own_page_one_comes_to_the_gallery(self, browser, red):
        answer = post(browser, "/images", f"/images/{red}", ids=[red], action="delete")
        assert answer.headers["Location"] == "/gallery"

    @pytest.mark.parametrize("action, label", [("delete", ""), ("label", "both"), ("remove_label", "")])
    def test_every_change_can_be_undone_from_the_page_that_tells_of_it(
        self, browser, workers_side, red, blue, action, label
    ):
        before = {id: workers_side.image(id) for id in (red, blue)}
        post(browser, "/images", "/gallery", ids=[red, blue], action=action, label=label)
        page = browser.get("/gallery").text
        assert ">Undo</button>" in page.split("<template")[0]
        job = re.search(r'name="job" value="([^"]+)"', page)[1]
        assert post(browser, "/undo", "/gallery", job=job).headers["Location"] == "/gallery"
        assert {id: workers_side.image(id) for id in (red, blue)} == before
        assert "2 photos as before" in browser.get("/gallery").text
        post(browser, "/undo", "/gallery", job=job)
        assert "There is nothing to undo any more" in browser.get("/gallery").text

    def test_an_empty_field_takes_no_label_away(self, browser, workers_side, red):
        post(browser, "/images", "/gallery", ids=[red], action="label", label="  ")
        assert workers_side.image(red).label == "red"
        assert "choose Remove label" in browser.get("/gallery").text

    def test_choosing_nothing_changes_nothing(self, browser, red):
        assert post(browser, "/images", action="delete").status_code == 302
        assert browser.get(f"/images/{red}").status_code == 200

    @pytest.mark.parametrize("stale", ["0" * 32, "../x"])
    def test_one_that_is_gone_costs_only_itself(self, browser, red, stale):
        post(browser, "/images", ids=[red, stale], action="delete")
        assert "1 photo moved to the trash. Left out: 1 photo (" in browser.get("/gallery").text
        assert browser.get(f"/images/{red}").status_code == 404

    def test_an_unknown_action_is_refused(self, browser, red):
        assert post(browser, "/images", ids=[red], action="explode").status_code == 422

    @pytest.mark.parametrize("referrer", ["http://evil.example/x", "http://localhost//evil.example/", ""])
    def test_it_goes_back_to_this_site_only(self, browser, red, referrer):
        headers = {"Referer": referrer}
        fields = {"csrf_token": csrf_token(browser), "ids": red, "action": "label", "label": "x"}
        location = browser.post("/images", data=fields, headers=headers).headers["Location"]
        assert location.startswith("/")
        assert not location.startswith("//")


class TestLabels:
    def test_a_label_is_renamed_on_its_page_and_comes_back(self, browser, workers_side, red):
        assert "Rename to" in browser.get("/label?name=red").text
        answer = post(browser, "/labels", "/gallery?label=red", label="red", by="crimson", action="rename")
        assert answer.headers["Location"] == "/gallery?label=crimson"
        page = browser.get("/gallery?label=crimson").text
        assert "1 photo labelled crimson now." in page
        post(browser, "/undo", "/gallery", job=re.search(r'name="job" value="([^"]+)"', page)[1])
        assert workers_side.image(red).label == "red"

    def test_it_is_taken_away_by_its_own_button_only(self, browser, workers_side, red):
        post(browser, "/labels", "/gallery?label=red", label="red", by=" ", action="rename")
        assert workers_side.image(red).label == "red"
        post(browser, "/labels", "/gallery?label=red", label="red", action="remove")
        assert workers_side.image(red).label is None
        assert post(browser, "/labels", label="red", action="explode").status_code == 422
        post(browser, "/labels", label="red", by="x", action="rename")
        assert "No image has the label red." in browser.get("/gallery").text


class TestTrash:
    @pytest.fixture
    def deleted(self, browser, red):
        post(browser, "/images", ids=[red], action="delete")
        return red

    def test_it_shows_what_was_deleted(self, browser, deleted, blue):
        page = browser.get("/trash").text
        assert f"/api/v1/images/{deleted}/thumbnail" in page and blue not in page
        assert "1 photo<" in page and "for 30 days" in page

    def test_what_is_restored_is_as_it_was(self, browser, workers_side, deleted):
        post(browser, "/trash", ids=[deleted], action="restore")
        assert workers_side.image(deleted).label == "red"
        assert "The trash is empty" in browser.get("/trash").text

    @pytest.mark.parametrize("fields", [{"action": "empty"}, {"action": "remove", "ids": True}])
    def test_what_is_removed_for_good_is_gone(self, browser, workers_side, deleted, fields):
        post(browser, "/trash", **fields | ({"ids": [deleted]} if "ids" in fields else {}))
        assert "1 photo removed for good" in browser.get("/trash").text
        assert list(workers_side.gallery.originals.ids()) == []

    def test_one_that_is_not_there_is_told(self, browser, deleted):
        post(browser, "/trash", ids=["0" * 32], action="restore")
        assert (
            "Nothing was changed. Left out: 1 photo (it is not in the gallery any more)." in browser.get("/trash").text
        )

    def test_its_own_page_says_where_it_is(self, browser, deleted):
        assert "is in the trash" in browser.get(f"/images/{deleted}").text

    @pytest.mark.parametrize("fields", [{"action": "explode"}, {}])
    def test_an_unknown_action_is_refused(self, browser, deleted, fields):
        assert post(browser, "/trash", ids=[deleted], **fields).status_code == 422


def test_the_gallery_says_how_many_photos_it_shows(browser, workers_side):
    for shade in (10, 60, 110):
        keep(workers_side, (200, shade, 0), f"reds/{shade}.jpg", "red")
    keep(workers_side, (0, 0, 200), "blues/1.jpg", "blue")
    assert "4 photos" in browser.get("/gallery").text
    assert "3 photos" in browser.get("/gallery?label=red").text
    assert "1 photo<" in browser.get("/gallery?label=blue").text
