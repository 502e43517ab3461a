"""A photo that another tab deleted, or a watched folder replaced, costs only itself, wherever several are named."""

import ast
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import web
from tests.web.conftest import keep
from tests.web.forms import post
from tests.web.stand_in import StandInClient

IN_TRASH, GONE = "it is in the trash", "it is not in the gallery any more"
API = "/api/v1"


def form(browser: FlaskClient, address: str, **fields: Any) -> TestResponse:
    """Sends a page's form and goes where it leads."""
    sent = post(browser, address, **fields)
    return browser.get(sent.location) if sent.status_code == 302 else sent


def labelled(side: StandInClient, id: str) -> bool:
    return side.image(id).label == "new"


def deleted(side: StandInClient, id: str) -> bool:
    return side.gallery.trash.exists(id)


def removed(side: StandInClient, id: str) -> bool:
    return not side.gallery.originals.exists(id)


def alive(side: StandInClient, id: str) -> bool:
    return id in side.gallery.find_many([id])


Send = Callable[[FlaskClient, Sequence[str]], TestResponse]
Done = Callable[[StandInClient, str], bool]

# endpoint -> how several photos are named to it, and what is true of each afterwards. The first of the photos is kept.
CHANGES: dict[str, tuple[Send, Done]] = {
    "changes.change_images label": (
        lambda b, ids: b.post(f"{API}/changes", json={"action": "label", "ids": ids, "label": "new"}),
        labelled,
    ),
    "changes.change_images remove_label": (
        lambda b, ids: b.post(f"{API}/changes", json={"action": "remove_label", "ids": ids}),
        lambda side, id: side.image(id).label is None,
    ),
    "changes.change_images delete": (
        lambda b, ids: b.post(f"{API}/changes", json={"action": "delete", "ids": ids}),
        deleted,
    ),
    "duplicates.keep_one": (
        lambda b, ids: b.post(f"{API}/duplicates/keep", json={"keep": ids[0], "ids": ids}),
        deleted,
    ),
    "gallery.edit label": (lambda b, ids: form(b, "/images", ids=ids, action="label", label="new"), labelled),
    "gallery.edit remove_label": (
        lambda b, ids: form(b, "/images", ids=ids, action="remove_label"),
        lambda side, id: side.image(id).label is None,
    ),
    "gallery.edit delete": (lambda b, ids: form(b, "/images", ids=ids, action="delete"), deleted),
    "duplicates.edit": (lambda b, ids: form(b, "/duplicates", ids=ids, action="keep", keep=ids[0]), deleted),
    "labelling.confirm": (lambda b, ids: form(b, "/unlabelled", ids=ids, label="new"), labelled),
}
IN_THE_TRASH: dict[str, tuple[Send, Done]] = {
    "changes.restore_images": (lambda b, ids: b.post(f"{API}/trash/restore", json={"ids": ids}), alive),
    "changes.empty_trash": (lambda b, ids: b.post(f"{API}/trash/empty", json={"ids": ids}), removed),
    "gallery.edit_trash restore": (lambda b, ids: form(b, "/trash", ids=ids, action="restore"), alive),
    "gallery.edit_trash remove": (lambda b, ids: form(b, "/trash", ids=ids, action="remove"), removed),
}
SEARCHES: dict[str, Callable[[FlaskClient, str, str, str], TestResponse]] = {
    "search.search json": lambda b, id, more, unlike: b.post(
        f"{API}/search", json={"id": id, "more": [more], "unlike": [unlike]}
    ),
    "search.search form": lambda b, id, more, unlike: b.post(
        f"{API}/search",
        data={"id": id, "more_id": [more], "unlike_id": [unlike]},
        content_type="multipart/form-data",
    ),
    "search.page": lambda b, id, more, unlike: b.get(f"/?id={id}&more={more}&unlike={unlike}"),
}
# What takes several ids and changes no image: answers are about contents, in the gallery or not.
OF_CONTENTS = {"duplicates.keep_apart", "duplicates.set_apart", "answers.give_answer"}


@pytest.fixture
def photos(workers_side: StandInClient) -> list[str]:
    """Four of them, of which the first may have to stay."""
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (99, 99, 99)]
    return [keep(workers_side, colour, f"{n}.jpg", None) for n, colour in enumerate(colours)]


@pytest.mark.parametrize("name", CHANGES)
def test_the_rest_is_changed_and_what_was_left_out_is_named_with_the_reason(
    browser: FlaskClient, workers_side: StandInClient, photos: list[str], name: str
) -> None:
    kept, good, trashed, purged = photos
    send, is_done = CHANGES[name]
    for id in (trashed, purged):
        workers_side.delete([id])
    workers_side.changes.empty_trash([purged])
    answer = send(browser, [kept, good, trashed, purged, "0" * 32])
    assert answer.status_code == 200
    assert is_done(workers_side, good)
    told(answer, {trashed: ("2.jpg", IN_TRASH), purged: ("", GONE), "0" * 32: ("", GONE)})


@pytest.mark.parametrize("name", IN_THE_TRASH)
def test_the_rest_of_the_trash_is_changed_and_what_was_left_out_is_named_with_the_reason(
    browser: FlaskClient, workers_side: StandInClient, photos: list[str], name: str
) -> None:
    restored, good, other, purged = photos
    send, is_done = IN_THE_TRASH[name]
    workers_side.delete([good, other, purged])
    workers_side.changes.empty_trash([purged])
    answer = send(browser, [restored, good, purged])
    assert answer.status_code == 200
    assert is_done(workers_side, good) and deleted(workers_side, other) and alive(workers_side, restored)
    told(answer, {restored: ("0.jpg", "it is in the gallery"), purged: ("", GONE)})


def told(answer: TestResponse, skipped: dict[str, tuple[str, str]]) -> None:
    """The API names ids, files and reasons; a page names files, or counts where it knows no name."""
    if answer.is_json:
        assert {each["id"]: (each["name"], each["reason"]) for each in answer.json["skipped"]} == skipped
        assert answer.json["missing"] == list(skipped)
        return
    page = answer.get_data(as_text=True)
    assert "Left out: " in page
    for name, reason in skipped.values():
        assert name in page
        assert reason in page or reason.replace("it is", "they are") in page


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize("stale", range(3), ids=["the first", "also like", "not like"])
def test_a_query_goes_on_without_a_photo_that_is_gone(
    browser: FlaskClient, workers_side: StandInClient, photos: list[str], name: str, stale: int
) -> None:
    asked = photos[:3]
    workers_side.delete([asked[stale]])
    answer = SEARCHES[name](browser, *asked)
    assert answer.status_code == 200
    if answer.is_json:
        assert [(each["id"], each["reason"]) for each in answer.json["skipped"]] == [(asked[stale], IN_TRASH)]
    else:
        page = answer.get_data(as_text=True)
        assert f"Left out: {stale}.jpg ({IN_TRASH})" in page
        assert photos[3] in page


def test_a_query_of_which_nothing_is_left_says_so(
    browser: FlaskClient, workers_side: StandInClient, photos: list[str]
) -> None:
    first, more, unlike, _ = photos
    workers_side.delete([first, more])
    for search in SEARCHES.values():
        assert search(browser, first, more, unlike).status_code == 404


def test_a_photo_that_got_a_label_elsewhere_keeps_it_and_is_named(
    browser: FlaskClient, workers_side: StandInClient, photos: list[str]
) -> None:
    workers_side.label([photos[1]], "other")
    page = form(browser, "/unlabelled", ids=photos[:2], label="new").get_data(as_text=True)
    assert "1 photo labelled new." in page
    assert "Left out: 1.jpg (it has got the label other meanwhile)" in page
    assert [workers_side.image(id).label for id in photos[:2]] == ["new", "other"]


def test_a_photo_that_is_gone_cannot_be_saved_as_a_query_and_the_page_stays(
    browser: FlaskClient, workers_side: StandInClient, photos: list[str]
) -> None:
    workers_side.delete([photos[0]])
    page = form(browser, "/queries", id=photos[0])
    assert page.status_code == 200
    assert f"Nothing was saved. Left out: 0.jpg ({IN_TRASH})." in page.get_data(as_text=True)


def test_when_nothing_is_left_the_message_says_so(
    browser: FlaskClient, workers_side: StandInClient, photos: list[str]
) -> None:
    workers_side.delete([photos[0]])
    assert "Nothing was changed. Left out: 0.jpg" in form(browser, "/images", ids=photos[:1], action="delete").get_data(
        as_text=True
    )


def test_every_route_that_takes_several_images_is_in_the_tables() -> None:
    """Found in the code: forms by `getlist`, the API by fields of ids."""
    tested = {name.split()[0] for name in (*CHANGES, *IN_THE_TRASH, *SEARCHES)} | OF_CONTENTS
    assert {name for name in _routes_with_ids() if name not in tested} == set()


def _routes_with_ids() -> set[str]:
    found = set()
    for file in Path(web.__file__).parent.rglob("*.py"):
        for node in ast.parse(file.read_text("utf-8")).body:
            is_route = isinstance(node, ast.FunctionDef) and any(
                "blueprint." in ast.unparse(decorator) for decorator in node.decorator_list
            )
            if is_route and any(_is_about_ids(each) for each in ast.walk(node)):
                found.add(f"{file.stem}.{node.name}")
    assert {"gallery.edit", "changes.change_images", "duplicates.keep_one"} <= found
    return found


def _is_about_ids(node: ast.AST) -> bool:
    text = ast.unparse(node) if isinstance(node, ast.Call | ast.Subscript) else ""
    return text.endswith((".getlist('ids')", "asked['ids']"))
