"""While queue or store is away every page and form says at once that the photos are safe, and keeps what was typed."""

import io
import re
import time
from pathlib import Path
from typing import Any

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient

from tests.web.conftest import keep
from tests.web.forms import csrf_token
from tests.web.stand_in import StandInClient, photo
from web import create_app
from workers import settings as settings_of
from workers.client import Unavailable

SAFE = re.compile("search engine (is restarting|does not answer); your (\\d+ )?photos are safe", re.IGNORECASE)
AT_ONCE_S = 2.0

# What needs queue or workers. The others (add, trash, saved queries, a photo) read storage alone and work meanwhile.
PAGES = ("/gallery", "/unlabelled", "/label?name=red", "/duplicates", "/jobs", "/models", "/coverage")
FORMS: dict[str, dict[str, Any]] = {
    "/images": {"action": "label", "label": "my new label"},
    "/unlabelled": {"label": "my new label"},
    "/labels": {"action": "rename", "label": "red", "by": "my new label"},
    "/duplicates": {"action": "keep"},
    "/duplicates/find": {},
    "/models/train": {"how": "fast"},
    "/models/tune": {},
    "/models/publish": {"model": "better"},
}


class Away:
    """Every question to queue or workers fails, as when Redis or the vector store is down; storage is there."""

    def __init__(self, side: StandInClient, reason: str) -> None:
        self._side, self._reason = side, reason

    def __getattr__(self, name: str) -> Any:
        if name in ("gallery", "image", "settings", "photos_known", "failures", "sessions", "queries", "coverage"):
            return getattr(self._side, name)
        if name in ("connection", "registry", "answers", "active", "original", "thumbnail", "save_query"):
            return getattr(self._side, name)
        if name in ("labelling", "duplicates", "trainings", "changes"):
            return self
        return self._fail

    def _fail(self, *_: object, **__: object) -> Any:
        raise Unavailable(self._reason, hint="it is started again by itself")


@pytest.fixture(params=["the queue at redis://queue does not answer", "the vector store does not answer"])
def away(request: pytest.FixtureRequest, app: APIFlask, workers_side: StandInClient) -> tuple[FlaskClient, list[str]]:
    """A browser whose portal has lost a part of the system, and the ids of two photos."""
    ids = [keep(workers_side, (n, 9, 9), f"{n}.jpg", "red") for n in (30, 200)]
    browser = app.test_client()
    token = csrf_token(browser)
    browser.token = token  # type: ignore[attr-defined]
    app.extensions["lookalike"] = Away(workers_side, request.param)
    return browser, ids


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_that_the_photos_are_safe(away: tuple[FlaskClient, list[str]], page: str) -> None:
    answer = away[0].get(page)
    if answer.status_code == 200:  # it can be shown without them
        return
    assert answer.status_code == 503
    assert "The search engine is restarting; your 2 photos are safe." in answer.text
    assert "does not answer" in answer.text
    assert "outage" in answer.text, "it goes on by itself"


@pytest.mark.parametrize("form", FORMS)
def test_a_form_keeps_what_was_typed(away: tuple[FlaskClient, list[str]], form: str) -> None:
    browser, ids = away
    fields = {"ids": ids, "keep": ids[0], **FORMS[form], "csrf_token": browser.token}  # type: ignore[attr-defined]
    answer = browser.post(form, data=fields)
    assert answer.status_code == 503
    assert "The search engine is restarting; your 2 photos are safe." in answer.text
    for name, value in FORMS[form].items():
        assert re.search(f'name="{name}" value="{re.escape(value)}"', answer.text)
    assert answer.text.count('name="ids"') == 2
    assert "Send it now" in answer.text


def test_files_are_to_be_chosen_anew_and_the_page_says_so(away: tuple[FlaskClient, list[str]]) -> None:
    browser, _ = away
    files = {"images": (io.BytesIO(photo()), "new.jpg"), "label": "my new label"}
    answer = browser.post("/add", data={**files, "csrf_token": browser.token})  # type: ignore[attr-defined]
    if answer.status_code == 503:
        assert "Files are not kept: choose them again." in answer.text
        assert "my new label" in answer.text


@pytest.mark.parametrize("page", ["/", *PAGES])
def test_with_the_queue_really_away_it_takes_two_seconds_at_most(portal_without_queue: FlaskClient, page: str) -> None:
    began = time.monotonic()
    answer = portal_without_queue.get(page)
    took_s = time.monotonic() - began
    assert answer.status_code in (200, 503)
    assert answer.status_code == 200 or SAFE.search(answer.text)
    assert took_s < 5 * AT_ONCE_S  # 0.1 s where nothing else runs


@pytest.fixture(scope="module")
def portal_without_queue(tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    home: Path = tmp_path_factory.mktemp("home")
    settings = settings_of.load({"LOOKALIKE_HOME": str(home), "LOOKALIKE_REDIS_URL": "redis://127.0.0.1:1/0"})
    return create_app(settings).test_client()
