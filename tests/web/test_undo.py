"""Whatever can be lost can be brought back: every route that changes something is walked, and taken back.

A route that is new has to be put into one of the two tables below, so that nobody forgets to think of it.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.web.conftest import keep, possessions
from tests.web.test_pages import post

# What these do adds, asks, or can be asked for again; nothing that was there goes.
LOSE_NOTHING = {
    "adding.add": "adds",
    "api.changes.restore_images": "brings back",
    "api.changes.undo_change": "brings back",
    "api.coverage.find_photo": "asks",
    "api.coverage.retry_coverage": "asks a watcher to look again",
    "api.duplicates.find_duplicates": "asks",
    "api.images.add_images": "adds",
    "api.models.restore_query": "brings back",
    "api.models.save_photo_query": "adds",
    "api.models.save_query": "adds",
    "api.models.train_model": "adds a model; publishing it is taken back by going back",
    "api.search.search": "asks",
    "api.system.retry_job": "goes on",
    "coverage.find": "asks",
    "coverage.try_again": "asks a watcher to look again",
    "duplicates.find": "asks",
    "gallery.undo": "brings back",
    "jobs.try_again": "goes on",
    "models.save_photo_query": "adds",
    "models.save_query": "adds",
    "models.train": "adds a model; publishing it is taken back by going back",
    "search.page_with_image": "asks",
    "sign_in.sign_in": "keeps the gallery as it is",
    "sign_in.sign_out": "keeps the gallery as it is",
}
# Two things are meant for good, and say so: they take only what is in the trash.
FOR_GOOD = {"api.changes.empty_trash", "gallery.edit_trash"}


@dataclass(frozen=True)
class World:
    """A gallery with two labelled photos, one without a label, a saved query, and a running job."""

    browser: Any
    client: Any
    red: str
    blue: str
    bare: str
    job: str

    def state(self) -> Any:
        """Everything that could be lost."""
        return possessions(self.client)

    def undo_offered(self, page: str = "/gallery") -> None:
        """Presses the button of the message that a page shows."""
        shown = self.browser.get(page).text
        job = shown.split('name="job" value="', 1)[1].split('"', 1)[0]
        assert job, "no button to undo it"
        post(self.browser, "/undo", job=job)

    def api(self, method: str, path: str, **json: Any) -> Any:
        answer = self.browser.open(f"/api/v1{path}", method=method, json=json)
        assert answer.status_code < 300, answer.text
        return answer.json if answer.data else None


def undo_by_api(world: World, answer: Any) -> None:
    world.api("POST", f"/changes/{answer['job']}/undo")


Step = Callable[[World], Any]
CHANGES = (("delete", None), ("label", "green"), ("remove_label", None))


def chosen_on_a_page(action: str, label: str | None) -> Step:
    return lambda w: post(w.browser, "/images", action=action, ids=[w.red, w.blue], label=label or "")


def chosen_by_api(action: str, label: str | None) -> Step:
    return lambda w: w.api("POST", "/changes", action=action, ids=[w.red, w.blue], label=label)


PAGES: dict[str, list[tuple[Step, Step]]] = {
    "gallery.edit": [(chosen_on_a_page(*each), World.undo_offered) for each in CHANGES],
    "gallery.edit_label": [
        (lambda w: post(w.browser, "/labels", action="rename", label="red", by="blue"), World.undo_offered),
        (lambda w: post(w.browser, "/labels", action="remove", label="red"), World.undo_offered),
    ],
    "labelling.confirm": [(lambda w: post(w.browser, "/unlabelled", ids=w.bare, label="red"), World.undo_offered)],
    "duplicates.edit": [
        (lambda w: post(w.browser, "/duplicates", action="keep", keep=w.red, ids=[w.red, w.blue]), World.undo_offered),
        (lambda w: post(w.browser, "/duplicates", action="apart", ids=[w.red, w.blue]), World.undo_offered),
    ],
    "models.forget_query": [(lambda w: post(w.browser, "/queries/forget", id=w.red), World.undo_offered)],
    "models.publish": [
        (
            lambda w: post(w.browser, "/models/publish", model="untrained"),
            lambda w: post(w.browser, "/models/rollback"),
        )
    ],
    "models.tune": [(lambda w: post(w.browser, "/models/tune"), lambda w: post(w.browser, "/models/rollback"))],
    "models.rollback": [
        (
            lambda w: post(w.browser, "/models/rollback"),
            lambda w: post(w.browser, "/models/publish", model="better"),
        )
    ],
    "jobs.stop": [
        (
            lambda w: post(w.browser, f"/jobs/{w.job}/stop"),
            lambda w: post(w.browser, f"/jobs/{w.job}/retry"),
        )
    ],
}
API: dict[str, list[tuple[Step, Callable[[World, Any], Any]]]] = {
    "api.changes.change_images": [(chosen_by_api(*each), undo_by_api) for each in CHANGES],
    "api.changes.replace_label": [
        (lambda w: w.api("POST", "/labels/replace", label="red", by="blue"), undo_by_api),
        (lambda w: w.api("POST", "/labels/replace", label="red", by=None), undo_by_api),
    ],
    "api.images.delete_image": [
        (
            lambda w: w.api("DELETE", f"/images/{w.red}"),
            lambda w, _: w.api("POST", "/trash/restore", ids=[w.red]),
        )
    ],
    "api.images.update_image": [
        (
            lambda w: w.api("PATCH", f"/images/{w.red}", label=None),
            lambda w, _: w.api("PATCH", f"/images/{w.red}", label="red"),
        )
    ],
    "api.duplicates.keep_one": [
        (lambda w: w.api("POST", "/duplicates/keep", keep=w.red, ids=[w.red, w.blue]), undo_by_api)
    ],
    "api.duplicates.keep_apart": [
        (
            lambda w: w.api("PUT", "/duplicates/apart", ids=[w.red, w.blue], apart=True),
            lambda w, _: w.api("PUT", "/duplicates/apart", ids=[w.red, w.blue], apart=False),
        )
    ],
    "api.answers.give_answer": [
        (
            lambda w: w.api("PUT", "/answers", images=[w.red, w.blue], same=True),
            lambda w, _: w.api("PUT", "/answers", images=[w.red, w.blue], same=None),
        )
    ],
    "api.models.forget_query": [
        (
            lambda w: w.api("DELETE", f"/queries/{w.red}"),
            lambda w, _: w.api("POST", f"/queries/{w.red}/restore"),
        )
    ],
    "api.models.publish_model": [
        (
            lambda w: w.api("POST", "/models/untrained/publish"),
            lambda w, _: w.api("POST", "/models/rollback"),
        )
    ],
    "api.models.tune_model": [
        (lambda w: w.api("POST", "/models/tune"), lambda w, _: w.api("POST", "/models/rollback")),
    ],
    "api.models.roll_back": [
        (lambda w: w.api("POST", "/models/rollback"), lambda w, _: w.api("POST", "/models/better/publish")),
    ],
    "api.system.stop_job": [
        (
            lambda w: w.api("POST", f"/jobs/{w.job}/stop"),
            lambda w, _: w.api("POST", f"/jobs/{w.job}/retry"),
        )
    ],
}


@pytest.fixture
def world(browser, workers_side, red, blue) -> World:
    bare = keep(workers_side, (30, 200, 30), "IMG_1.jpg", None)
    workers_side.save_query(id=red)
    workers_side.publish("better")
    job = workers_side._note("index", 1, 0, [])
    workers_side._jobs[job] = dataclasses.replace(workers_side._jobs[job], state="running")
    return World(browser, workers_side, red, blue, bare, job)


def walked(table: dict[str, Any]) -> list[Any]:
    return [
        pytest.param(*steps, id=f"{endpoint}-{number}")
        for endpoint, many in table.items()
        for number, steps in enumerate(many)
    ]


def test_every_route_that_changes_something_is_thought_of(app):
    changing = {rule.endpoint for rule in app.url_map.iter_rules() if rule.methods & {"POST", "PUT", "PATCH", "DELETE"}}
    assert changing == {*LOSE_NOTHING, *FOR_GOOD, *PAGES, *API}


@pytest.mark.parametrize(("change", "undo"), walked(PAGES))
def test_what_a_page_changes_is_taken_back(world, change, undo):
    before = world.state(), len(world.client.running())
    assert change(world).status_code == 302
    assert (world.state(), len(world.client.running())) != before
    undone = undo(world)
    assert undone is None or undone.status_code == 302
    assert world.state() == before[0]


@pytest.mark.parametrize(("change", "undo"), walked(API))
def test_what_the_api_changes_is_taken_back(world, change, undo):
    before = world.state(), len(world.client.running())
    answer = change(world)
    assert (world.state(), len(world.client.running())) != before
    undo(world, answer)
    assert world.state() == before[0]


def test_for_good_is_only_what_lies_in_the_trash(world):
    before = world.state()
    world.browser.post("/api/v1/trash/empty", json={"ids": [world.red]})
    post(world.browser, "/trash", action="remove", ids=world.red)
    post(world.browser, "/trash", action="empty")
    assert world.state() == before
