"""What was found in indexed folders, and the answer to: why is my photo not here?"""

import io

import pytest

from tests.web.forms import post
from tests.web.stand_in import photo
from workers.messages import Failure, FolderCoverage


@pytest.fixture
def folder(workers_side):
    found = FolderCoverage(
        folder="/home/ann/Pictures",
        host="ann-laptop",
        at=1_795_500_000.0,
        indexed=1_801,
        same=12,
        failed=1,
        skipped=1,
        failures=(Failure("/home/ann/Pictures/torn.jpg", "is damaged"),),
        skips=(Failure("/home/ann/Pictures/notes.txt", "no photo by its name"),),
    )
    workers_side.coverage.write(found)
    return found


def asked(browser, data, name="IMG_0042.jpg"):
    answer = browser.post("/api/v1/whereabouts", data={"image": (io.BytesIO(data), name)})
    assert answer.status_code == 200, answer.text
    return answer.json


def test_every_file_of_a_folder_is_accounted_for(browser, folder):
    (listed,) = browser.get("/api/v1/coverage").json["folders"]
    assert sum(listed[part] for part in ("indexed", "failed", "waiting", "skipped")) == folder.on_disk == 1_803
    page = browser.get("/coverage").text
    for fact in ("/home/ann/Pictures", "1,803", "1,801", "torn.jpg", "is damaged", "no photo by its name"):
        assert fact in page


def test_without_an_indexed_folder_the_browser_comes_first(browser):
    page = browser.get("/coverage").text
    assert page.index('href="/add">Add photos here') < page.index("lookalike watch")


def test_a_photo_that_is_here_is_shown(browser, red, workers_side):
    answer = asked(browser, workers_side.original(red))
    assert (answer["answer"], answer["id"]) == ("here", red)


def test_one_that_was_deleted_is_in_the_trash(browser, red, workers_side):
    data = workers_side.original(red)
    workers_side.delete([red])
    assert asked(browser, data)["answer"] == "trash"


def test_what_is_no_photo_says_so(browser):
    answer = asked(browser, b"not a photo", "notes.jpg")
    assert answer["answer"] == "unreadable"
    assert "is no image" in answer["told"]


def test_a_file_that_was_left_out_says_why(browser, folder):
    answer = asked(browser, photo((3, 90, 200)), "torn.jpg")
    assert (answer["answer"], answer["path"]) == ("failed", "/home/ann/Pictures/torn.jpg")
    assert "is damaged" in answer["told"]


def test_the_same_photo_saved_anew_is_found(browser, red):
    answer = asked(browser, photo(format="PNG"))
    assert (answer["answer"], answer["id"]) == ("alike", red)


def test_one_that_nobody_added_says_what_was_indexed(browser, folder):
    answer = asked(browser, photo((0, 0, 250)))
    assert answer["answer"] == "unknown"
    assert "1 indexed folder held it" in answer["told"]


def test_the_page_answers_too(browser, red, workers_side):
    addresses = [
        post(browser, "/coverage", image=(io.BytesIO(data), name)).headers["Location"]
        for data, name in ((workers_side.original(red), "mine.jpg"), (b"no photo", "notes.txt"))
    ]
    page = browser.get(addresses[0]).text  # also after the next one was asked about, as after Back
    assert "notes.txt" in browser.get(addresses[1]).text
    assert "It is in the gallery as" in page
    assert f"/images/{red}" in page


def test_a_folder_that_nobody_watches_is_tried_again_by_its_command(browser, folder):
    answer = browser.post("/api/v1/coverage/retry", json={"folder": folder.folder})
    assert answer.status_code == 409
    assert answer.json["hint"] == "lookalike index /home/ann/Pictures"
    assert browser.post("/api/v1/coverage/retry", json={"folder": "/etc"}).status_code == 404
