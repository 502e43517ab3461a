"""Photos without a label one group after the other, and a page for each label."""

import pytest

from tests.web.conftest import keep
from tests.web.forms import post


@pytest.fixture
def nameless(workers_side):
    return [keep(workers_side, colour, f"{n}.jpg", None) for n, colour in enumerate([(1, 2, 3), (4, 5, 6)])]


def test_a_guess_is_confirmed_and_the_next_group_follows(browser, workers_side, nameless):
    page = browser.get("/unlabelled").text
    assert 'value="lemon"' in page
    assert "2 photos" in page
    first, second = sorted(nameless)
    assert first in page
    assert post(browser, "/unlabelled", ids=first, label="lemon", skip="0").status_code == 302
    assert workers_side.image(first).label == "lemon"
    page = browser.get("/unlabelled").text
    assert second in page
    assert "Undo" in page


def test_a_group_is_skipped_and_the_address_says_so(browser, nameless):
    page = browser.get("/unlabelled?skip=1").text
    assert sorted(nameless)[1] in page
    assert sorted(nameless)[0] not in page
    assert browser.get("/unlabelled?skip=99").status_code == 200


def test_what_got_a_label_in_another_tab_keeps_it(browser, workers_side, nameless):
    workers_side.label([nameless[0]], "lime")
    post(browser, "/unlabelled", ids=nameless[0], label="lemon", skip="0")
    assert workers_side.image(nameless[0]).label == "lime"
    page = browser.get("/unlabelled").text
    assert "Nothing was changed. Left out: " in page
    assert "it has got the label lime meanwhile" in page


def test_an_empty_label_and_no_photo_change_nothing(browser, workers_side, nameless):
    post(browser, "/unlabelled", ids=nameless[0], label="  ", skip="0")
    assert "Type the label to give." in browser.get("/unlabelled").text
    post(browser, "/unlabelled", label="lemon", skip="0")
    assert "No photo was chosen." in browser.get("/unlabelled").text
    assert workers_side.image(nameless[0]).label is None


def test_when_everything_has_a_label_it_says_so(browser, red):
    assert "Every photo of the gallery has a label." in browser.get("/unlabelled").text


def test_an_empty_gallery_is_not_said_to_be_labelled(browser):
    page = browser.get("/unlabelled").text
    assert "The gallery is empty." in page and "has a label" not in page


def test_a_label_has_a_page_with_what_may_not_belong(browser, red, blue):
    page = browser.get("/label?name=red").text
    assert "more like lime" in page
    assert red in page
    assert blue not in page
    assert browser.get("/label?name=nothing").status_code == 404


def test_the_api_gives_both(browser, red, nameless):
    found = browser.get("/api/v1/unlabelled").json
    assert (found["total"], found["groups"][0]["label"], found["groups"][0]["share"]) == (2, "lemon", 0.75)
    found = browser.get("/api/v1/labels/outliers", query_string={"label": "red"}).json
    assert [(each["image"]["id"], each["like"]) for each in found["outliers"]] == [(red, "lime")]
