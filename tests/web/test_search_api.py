"""POST /api/v1/search."""

import io

import pytest

from tests.web.conftest import keep
from tests.web.stand_in import photo
from workers.client import Overloaded

URL = "/api/v1/search"


def form(data: bytes = b"", name: str = "query.jpg", **fields):
    return {"image": (io.BytesIO(data), name), **fields}


def test_a_photo_finds_what_looks_like_it_first(browser, red, blue):
    answer = browser.post(URL, data=form(photo((190, 40, 40))))
    assert answer.status_code == 200
    assert [result["id"] for result in answer.json["results"]] == [red, blue]
    first = answer.json["results"][0]
    assert first.keys() == {"rank", "id", "path", "label", "similarity", "distance", "probability", "verdict"}
    assert (first["rank"], first["label"], first["path"], first["verdict"]) == (1, "red", "reds/cherry.jpg", "same")
    assert (answer.json["model"], answer.json["collection"]) == ("stand-in", "images-stand-in")


def test_an_image_of_the_gallery_finds_itself_first(browser, red, blue):
    answer = browser.post(URL, json={"id": blue})
    assert answer.json["results"][0]["id"] == blue
    assert answer.json["results"][0]["similarity"] == pytest.approx(1)


@pytest.mark.parametrize("as_form", [True, False], ids=["form", "json"])
def test_options_reach_the_workers(browser, workers_side, red, as_form):
    options = {"k": 3, "label": "red", "rerank": True}
    if as_form:
        browser.post(URL, data=form(photo(), k="3", label="red", rerank="true"))
    else:
        browser.post(URL, json={"id": red, **options})
    assert {name: workers_side.asked[-1][name] for name in options} == options


def test_defaults_are_six_results_of_any_label_without_reranking(browser, workers_side, red):
    browser.post(URL, json={"id": red})
    asked = workers_side.asked[-1]
    assert (asked["k"], asked["label"], asked["rerank"]) == (6, None, False)


@pytest.mark.parametrize("label, meant", [("", None), ("  ", None), (" red ", "red")])
def test_a_label_of_spaces_is_none(browser, workers_side, red, label, meant):
    browser.post(URL, data=form(photo(), label=label))
    assert workers_side.asked[-1]["label"] == meant


def test_a_query_photo_is_not_kept(browser, workers_side):
    browser.post(URL, data=form(photo((1, 2, 3))))
    assert list(workers_side.gallery.ids()) == []


def test_the_stages_are_told_to_the_browsers_developer_tools(browser, red):
    answer = browser.post(URL, json={"id": red})
    assert answer.headers["Server-Timing"] == "wait;dur=1.0, embed;dur=2.5, search;dur=0.5"


@pytest.mark.parametrize("data, reason", [(b"no image at all", "is no image"), (b"", "is empty")])
def test_a_file_that_is_no_image_is_refused_by_name(browser, data, reason):
    answer = browser.post(URL, data=form(data, "notes.txt"))
    assert answer.status_code == 422
    assert answer.content_type == "application/problem+json"
    assert answer.json["title"] == "Unreadable image"
    assert answer.json["detail"].startswith(f"notes.txt {reason}")
    assert answer.json["status"] == 422
    assert answer.json["hint"]


def test_a_photo_over_the_limit_is_413_and_named(browser):
    answer = browser.post(URL, data=form(b"\0" * (2**20 + 1), "huge.jpg"))
    assert answer.status_code == 413
    assert answer.json["detail"] == "huge.jpg is larger than 1 MB"
    assert "1 MB" in answer.json["hint"]


def test_a_request_over_the_limit_is_413_before_it_is_read(browser):
    answer = browser.post(URL, data=b"\0" * (10 * 2**20), content_type="multipart/form-data; boundary=x")
    assert answer.status_code == 413
    assert answer.json["title"] == "Request Entity Too Large"


@pytest.mark.parametrize(
    "request_, field",
    [
        ({"json": {}}, "id"),
        ({"data": {}}, "image"),
        ({"json": {"id": "a" * 32, "k": 0}}, "k"),
        ({"json": {"id": "a" * 32, "k": "many"}}, "k"),
        ({"json": {"id": "a" * 32, "k": 100_000}}, "k"),
        ({"json": {"id": "a" * 32, "label": "x" * 201}}, "label"),
        ({"json": {"id": "a" * 32, "colour": "red"}}, "colour"),
        ({"json": {"id": ["a"]}}, "id"),
    ],
)
def test_wrong_fields_are_named(browser, request_, field):
    answer = browser.post(URL, **request_)
    assert answer.status_code == 422
    assert answer.content_type == "application/problem+json"
    assert [error["field"] for error in answer.json["errors"]] == [field]
    assert answer.json["detail"].startswith(f"{field}: ")


@pytest.mark.parametrize(
    "fields, named, reason",
    [
        ({"lable": "red"}, "lable", "Unknown field"),
        ({"k": ["3", "4"]}, "k", "Must be given once"),
        ({"rerank": "on"}, "rerank", "Not a valid boolean"),
    ],
)
def test_an_option_that_would_be_passed_over_is_told(browser, fields, named, reason):
    answer = browser.post(URL, data=form(photo(), **fields))
    assert answer.status_code == 422
    assert answer.json["errors"] == [{"field": named, "reason": reason}]


@pytest.mark.parametrize("body", [{"k": "6"}, {"k": True}, {"k": 6.5}, {"rerank": "true"}, {"rerank": 1}])
def test_json_of_the_wrong_type_is_422(browser, red, body):
    assert browser.post(URL, json={"id": red, **body}).status_code == 422
    assert browser.post(URL, json={"id": red, "k": 6.0, "rerank": True}).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/xml"])
def test_a_body_that_nothing_reads_is_415_and_says_what_is_read(browser, red, kind):
    answer = browser.post(URL, data=b"id=" + red.encode(), content_type=kind)
    assert answer.status_code == 415
    assert "multipart/form-data or application/json" in answer.json["detail"]


def test_broken_json_is_a_problem_too(browser):
    answer = browser.post(URL, data=b"{", content_type="application/json")
    assert (answer.status_code, answer.content_type) == (400, "application/problem+json")
    assert answer.json["detail"] == "the request's body is no valid JSON"


@pytest.mark.parametrize("id", ["f" * 32, "../../etc/passwd", "", "F" * 32, "f" * 31])
def test_searching_with_an_image_that_is_not_there_is_404(browser, id):
    answer = browser.post(URL, json={"id": id})
    assert (answer.status_code, answer.json["title"]) == (404, "Not found")


def test_it_says_when_to_ask_again_while_the_workers_are_away(browser, workers_side, red):
    workers_side.is_down = True
    answer = browser.post(URL, json={"id": red})
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert answer.json["hint"] == "start the system with: lookalike up"


def test_an_overloaded_queue_says_itself_how_long_to_wait(browser, workers_side, red, monkeypatch):
    def refuse(*_, **__):
        raise Overloaded("too many searches are waiting", hint="try again in a moment")

    monkeypatch.setattr(workers_side, "search", refuse)
    answer = browser.post(URL, json={"id": red})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")


def test_an_unexpected_error_tells_nothing_of_the_inside(browser, workers_side, red, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("secret path /srv/x")

    monkeypatch.setattr(workers_side, "search", fail)
    answer = browser.post(URL, json={"id": red})
    assert (answer.status_code, answer.content_type) == (500, "application/problem+json")
    assert b"secret" not in answer.data


def test_only_the_label_that_was_asked_for_is_shown(browser, workers_side, red, blue):
    unlabelled = keep(workers_side, (20, 200, 20), "grass.jpg", None)
    answer = browser.post(URL, json={"id": unlabelled, "label": "blue"})
    assert [result["id"] for result in answer.json["results"]] == [blue]


PART = [0.25, 0.1, 0.5, 0.6]


@pytest.mark.parametrize("as_form", [True, False], ids=["form", "json"])
def test_a_part_of_a_photo_is_searched_with(browser, workers_side, red, as_form):
    if as_form:
        answer = browser.post(URL, data=form(photo(), box="0.25,0.1,0.5,0.6"))
    else:
        answer = browser.post(URL, json={"id": red, "box": PART})
    assert answer.status_code == 200
    assert workers_side.asked[-1]["box"] == PART


@pytest.mark.parametrize("box", ["1,2,3", "a,b,c,d", "0,0,inf,1", "0.1;0.1;0.5;0.5"])
def test_a_box_that_is_none_is_named(browser, red, box):
    answer = browser.post(URL, data=form(photo(), box=box))
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json["errors"]] == ["box"]


def test_several_photos_and_images_make_one_query(browser, workers_side, red, blue):
    data = form(photo(), more_id=[red], unlike_id=blue, strategy="best")
    data["more"] = [(io.BytesIO(photo((1, 2, 3))), "second.jpg")]
    assert browser.post(URL, data=data).status_code == 200
    asked = workers_side.asked[-1]
    assert (asked["more"], asked["unlike"], asked["strategy"]) == ([photo((1, 2, 3)), red], [blue], "best")
    assert browser.post(URL, json={"id": red, "more": [blue], "unlike": [blue]}).status_code == 200
    asked = workers_side.asked[-1]
    assert (asked["id"], asked["more"], asked["unlike"], asked["strategy"]) == (red, [blue], [blue], "average")


def test_a_query_is_of_so_many_photos_at_most_and_reranked_only_alone(browser, red):
    answer = browser.post(URL, json={"id": red, "more": 8 * [red], "unlike": 8 * [red]})
    assert (answer.status_code, answer.json["detail"]) == (422, "a search takes at most 16 photos")
    answer = browser.post(URL, json={"id": red, "more": [red], "rerank": True})
    assert (answer.status_code, answer.json["detail"]) == (422, "re-ranking works with one photo: leave rerank out")
