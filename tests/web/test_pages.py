"""Pages without JavaScript that have no file of their own: adding photos, status, jobs and errors."""

import dataclasses
import io

from tests.web.forms import post
from tests.web.stand_in import photo


class TestAdding:
    def test_photos_are_added_by_the_plain_form(self, browser, workers_side):
        images = [(io.BytesIO(photo((n, 9, 9))), f"{n}.jpg") for n in (10, 200)]
        answer = post(browser, "/add", images=images, label="new")
        job = browser.get(answer.headers["Location"])
        assert answer.status_code == 302
        assert "2 of 2 done: 2 added" in job.text
        assert [each.label for each in workers_side.labels()] == ["new"]

    def test_files_that_are_no_images_are_named(self, browser):
        answer = post(browser, "/add", images=[(io.BytesIO(b"text"), "notes.txt")])
        assert answer.status_code == 422
        assert "notes.txt" in answer.text
        assert "is no image" in answer.text

    def test_a_mixed_lot_is_told_apart_on_the_jobs_page(self, browser):
        images = [(io.BytesIO(b"text"), "notes.txt"), (io.BytesIO(photo()), "a.jpg")]
        job = browser.get(post(browser, "/add", images=images).headers["Location"]).text
        assert "notes.txt" in job
        assert "1 left out" in job

    def test_choosing_nothing_is_said(self, browser):
        answer = post(browser, "/add", images=(io.BytesIO(b""), ""))
        assert answer.status_code == 422
        assert "No photo was chosen" in answer.text


class TestOtherPages:
    def test_the_status_page_shows_workers_queues_and_settings(self, browser, red):
        page = browser.get("/status").text
        for fact in ("healthy", "stand-in", "321 MB", "Indexing steps waiting", "LOOKALIKE_DEVICE"):
            assert fact in page

    def test_what_would_make_searches_better_is_done_from_the_status_page(self, browser, workers_side, monkeypatch):
        status = dataclasses.replace(
            workers_side.status(), suggestions=("searches find more once tuned: lookalike tune",)
        )
        monkeypatch.setattr(workers_side, "status", lambda: status)
        assert '<a href="/models#tune-title">tune it here</a>' in browser.get("/status").text

    def test_the_status_page_says_what_is_wrong(self, browser, workers_side):
        workers_side.is_down = True
        page = browser.get("/status")
        assert page.status_code == 200
        assert "the queue does not answer: start it" in page.text

    def test_a_running_jobs_page_follows_it(self, browser, workers_side, red):
        workers_side.is_slow = True
        page = browser.get(f"/jobs/{workers_side.index([red])}").text
        assert "js/live.js" in page
        assert "running" in page

    def test_a_page_that_does_not_exist_is_a_page(self, browser):
        answer = browser.get("/nothing")
        assert (answer.status_code, answer.mimetype) == (404, "text/html")
        assert "there is nothing at this address" in answer.text
        assert "<h1>Not found</h1>" in answer.text and "Try again" not in answer.text

    def test_an_unexpected_error_is_a_page_that_tells_nothing_of_the_inside(self, browser, workers_side, monkeypatch):
        monkeypatch.setattr(workers_side, "labels", lambda: 1 / 0)
        answer = browser.get("/gallery")
        assert (answer.status_code, answer.mimetype) == (500, "text/html")
        assert "division" not in answer.text and "Try again" in answer.text
