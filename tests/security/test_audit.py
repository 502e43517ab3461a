"""Each change is a line of the log with the name of the token that made it, and the id of its request."""

import dataclasses
import io
import logging

import pytest

from tests.web.conftest import keep
from tests.web.stand_in import StandInClient, photo
from web import create_app
from workers.logs import request_id

SECRET = "a-secret-that-a-machine-made-7f3d"
ANNA = {"Authorization": f"Bearer {SECRET}"}


@pytest.fixture
def workers_side(portal_settings):
    return StandInClient(dataclasses.replace(portal_settings, api_tokens=(f"anna:admin:{SECRET}",)))


@pytest.fixture
def anna(workers_side):
    return create_app(workers_side.settings, client=workers_side).test_client()


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "web")
    caplog.handler.addFilter(lambda record: record.__dict__.update(id=request_id()) or True)
    return lambda: [(each.getMessage(), each.id) for each in caplog.records if each.name == "web.access.audit"]


def test_changes_are_said_with_the_tokens_name_and_the_requests_id(anna, workers_side, lines):
    id = keep(workers_side, (1, 2, 3), "a.jpg", None)
    headers = ANNA | {"X-Request-ID": "from-a-proxy-1"}
    anna.patch(f"/api/v1/images/{id}", json={"label": "mug"}, headers=headers)
    anna.post("/api/v1/images", data={"images": (io.BytesIO(photo()), "x.jpg"), "label": "new"}, headers=headers)
    anna.delete(f"/api/v1/images/{id}", headers=headers)
    assert lines() == [
        (f"anna: label label=mug {id}", "from-a-proxy-1"),
        ("anna: add label=new", "from-a-proxy-1"),
        (f"anna: delete {id}", "from-a-proxy-1"),
    ]


def test_every_route_of_the_api_that_changes_something_says_so(anna, workers_side, lines):
    """Each as somebody would ask it who may: what is newer than this table is missed in it."""
    one, other, third = (keep(workers_side, (n, 2, 3), f"{n}.jpg", "mug") for n in (10, 90, 200))
    job = workers_side.index([one])
    requests = {
        "give_answer": ("PUT", "/answers", {"json": {"images": [one, other], "same": True}}),
        "change_images": ("POST", "/changes", {"json": {"action": "label", "ids": [one], "label": "cup"}}),
        "replace_label": ("POST", "/labels/replace", {"json": {"label": "cup", "by": "mug"}}),
        "undo_change": ("POST", f"/changes/{job}/undo", {}),
        "retry_coverage": ("POST", "/coverage/retry", {"json": {"folder": "/photos"}}),
        "find_duplicates": ("POST", "/duplicates", {"json": {}}),
        "keep_one": ("POST", "/duplicates/keep", {"json": {"keep": one, "ids": [other]}}),
        "keep_apart": ("PUT", "/duplicates/apart", {"json": {"ids": [one, third]}}),
        "add_images": ("POST", "/images", {"data": {"images": (io.BytesIO(photo()), "x.jpg")}}),
        "update_image": ("PATCH", f"/images/{one}", {"json": {"label": "jug"}}),
        "delete_image": ("DELETE", f"/images/{third}", {}),
        "restore_images": ("POST", "/trash/restore", {"json": {"ids": [third]}}),
        "empty_trash": ("POST", "/trash/empty", {"json": {}}),
        "publish_model": ("POST", "/models/m/publish", {"json": {}}),
        "save_query": ("POST", "/queries", {"json": {"id": one}}),
        "save_photo_query": ("POST", "/photo-queries", {"data": {"image": (io.BytesIO(photo()), "x.jpg")}}),
        "forget_query": ("DELETE", f"/queries/{one}", {}),
        "restore_query": ("POST", f"/queries/{one}/restore", {}),
        "train_model": ("POST", "/models/train", {"json": {"how": "fast"}}),
        "tune_model": ("POST", "/models/tune", {}),
        "roll_back": ("POST", "/models/rollback", {}),
        "stop_job": ("POST", f"/jobs/{job}/stop", {}),
        "retry_job": ("POST", f"/jobs/{job}/retry", {}),
    }
    changing = {
        rule.endpoint.rpartition(".")[2]
        for rule in anna.application.url_map.iter_rules()
        if rule.endpoint.startswith("api.") and rule.methods & {"POST", "PUT", "PATCH", "DELETE"}
    }
    assert changing - {"search", "find_photo"} == set(requests)
    for name, (method, path, sent) in requests.items():
        before = len(lines())
        anna.open(f"/api/v1{path}", method=method, headers=ANNA, **sent)
        assert [text for text, _ in lines()[before:] if text.startswith("anna: ")], name


def test_every_requests_line_names_who_asked(anna, caplog):
    caplog.set_level(logging.INFO, "web")
    anna.get("/api/v1/labels", headers=ANNA)
    anna.get("/api/v1/labels")
    said = [each.getMessage() for each in caplog.records if each.name == "web.telemetry"]
    assert said[0].endswith(" by anna")
    assert " by " not in said[1]
    assert SECRET not in caplog.text


def test_a_search_carries_the_id_of_its_request_to_the_worker(anna, workers_side, monkeypatch):
    seen = []
    real = workers_side.search
    monkeypatch.setattr(workers_side, "search", lambda *a, **k: seen.append(request_id()) or real(*a, **k))
    answer = anna.post("/api/v1/search", data={"image": (io.BytesIO(photo()), "a.jpg")}, headers=ANNA)
    assert seen == [answer.headers["X-Request-ID"]]
