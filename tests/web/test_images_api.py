"""/api/v1/images: adding, listing, showing, labelling, deleting."""

import io

import pytest
from PIL import Image

from tests.web.conftest import keep
from tests.web.stand_in import photo

URL = "/api/v1/images"
GOOD = photo((10, 120, 10))


def upload(browser, files, **fields):
    return browser.post(URL, data={"images": [(io.BytesIO(data), name) for data, name in files], **fields})


class TestAdding:
    def test_photos_are_kept_and_found(self, browser):
        answer = upload(browser, [(GOOD, "grass.jpg"), (photo((9, 9, 200)), "sea/deep.png")], label=" green ")
        assert answer.status_code == 201
        assert [(each["file"], each["outcome"]) for each in answer.json["images"]] == [
            ("grass.jpg", "added"),
            ("sea/deep.png", "added"),
        ]
        shown = browser.get(f"{URL}/{answer.json['images'][1]['id']}").json
        assert (shown["label"], shown["name"], shown["path"]) == ("green", "deep.png", "sea/deep.png")
        assert browser.get(answer.json["job_url"]).json["state"] == "done"

    def test_a_photo_that_is_there_already_is_unchanged(self, browser):
        upload(browser, [(GOOD, "a.jpg")])
        answer = upload(browser, [(GOOD, "b.jpg")])
        assert answer.json["images"][0]["outcome"] == "unchanged"

    def test_a_file_that_is_no_image_does_not_harm_the_others(self, browser):
        answer = upload(browser, [(b"text", "notes.txt"), (GOOD, "a.jpg"), (b"", "empty.jpg")])
        assert answer.status_code == 201
        by_name = {each["file"]: each for each in answer.json["images"]}
        assert by_name["a.jpg"]["outcome"] == "added"
        assert by_name["notes.txt"]["outcome"] == by_name["empty.jpg"]["outcome"] == "refused"
        assert by_name["notes.txt"]["reason"].startswith("is no image")
        job = browser.get(answer.json["job_url"]).json
        assert {failure["path"] for failure in job["failures"]} == {"notes.txt", "empty.jpg"}

    def test_when_all_are_refused_each_is_named_with_its_reason(self, browser):
        answer = upload(browser, [(b"text", "notes.txt"), (b"", "empty.jpg")])
        assert (answer.status_code, answer.content_type) == (422, "application/problem+json")
        assert {error["file"] for error in answer.json["errors"]} == {"notes.txt", "empty.jpg"}
        assert "notes.txt is no image" in answer.json["detail"]

    def test_a_file_that_only_decoding_shows_to_be_broken_is_refused_with_the_workers_reason(
        self, browser, workers_side
    ):
        workers_side.unindexable["cut.jpg"] = "ends in the middle"
        answer = upload(browser, [(GOOD, "cut.jpg"), (photo(), "whole.jpg")])
        assert [(each["outcome"], each["reason"]) for each in answer.json["images"]] == [
            ("refused", "ends in the middle"),
            ("added", None),
        ]

    def test_the_only_file_that_only_decoding_shows_to_be_broken_is_422(self, browser, workers_side):
        workers_side.unindexable["cut.jpg"] = "ends in the middle"
        answer = upload(browser, [(GOOD, "cut.jpg")])
        assert answer.status_code == 422
        assert answer.json["detail"] == "cut.jpg ends in the middle"

    def test_a_file_over_the_limit_is_refused_alone(self, browser):
        answer = upload(browser, [(b"\0" * (2**20 + 1), "huge.jpg"), (GOOD, "a.jpg")])
        assert [each["outcome"] for each in answer.json["images"]] == ["refused", "added"]

    def test_the_only_file_over_the_limit_is_413(self, browser):
        answer = upload(browser, [(b"\0" * (2**20 + 1), "huge.jpg")])
        assert (answer.status_code, answer.json["detail"]) == (413, "huge.jpg is larger than 1 MB")

    def test_more_than_a_request_may_carry_is_413(self, browser):
        answer = upload(browser, [(b"\0" * 2**20, f"{n}.jpg") for n in range(10)])
        assert (answer.status_code, answer.content_type) == (413, "application/problem+json")

    def test_too_many_parts_are_413(self, browser):
        answer = upload(browser, [(b"x", f"{n}.jpg") for n in range(1_001)])
        assert answer.status_code == 413

    def test_a_job_that_goes_on_is_202(self, browser, workers_side):
        workers_side.is_slow = True
        answer = upload(browser, [(GOOD, "a.jpg"), (b"x", "b.txt")], wait_s="0")
        assert answer.status_code == 202
        assert answer.json["state"] == "running"
        assert [each["outcome"] for each in answer.json["images"]] == ["pending", "refused"]

    def test_the_wait_for_a_slow_job_ends(self, browser, workers_side):
        workers_side.is_slow = True
        assert upload(browser, [(GOOD, "a.jpg")], wait_s="0.1").status_code == 202

    def test_a_folders_name_does_not_replace_the_label_that_a_person_chose(self, browser):
        id = upload(browser, [(GOOD, "a.jpg")], label="mine").json["images"][0]["id"]
        upload(browser, [(GOOD, "a.jpg")], label="IMG_2024", label_from="folder")
        assert browser.get(f"{URL}/{id}").json["label"] == "mine"

    @pytest.mark.parametrize("images", ["", "text"])
    def test_a_text_is_no_file(self, browser, images):
        response = browser.post("/api/v1/images", data={"images": images}, content_type="multipart/form-data")
        assert response.status_code == 422
        assert "Not a valid file" in response.json["detail"]

    def test_the_empty_part_of_an_empty_field_is_no_file(self, browser):
        data = {"images": [(io.BytesIO(), "")]}
        assert browser.post("/api/v1/images", data=data, content_type="multipart/form-data").status_code == 422

    def test_no_file_at_all_is_422(self, browser):
        answer = browser.post(URL, data={"label": "x"}, content_type="multipart/form-data")
        assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "images")

    def test_what_is_stored_while_the_queue_is_away_is_answered_503(self, browser, workers_side):
        workers_side.is_down = True
        assert upload(browser, [(GOOD, "a.jpg")]).status_code == 503

    @pytest.mark.parametrize("name", ["../../../etc/cron.d/x", "..\\..\\x.jpg", "/etc/passwd", "a\0b.jpg", "é" * 300])
    def test_a_hostile_file_name_is_data_not_a_path(self, browser, portal_settings, name):
        answer = upload(browser, [(GOOD, name)])
        assert answer.status_code == 201
        kept = {path.name for path in (portal_settings.home / "storage" / "originals").rglob("*") if path.is_file()}
        assert kept == {answer.json["images"][0]["id"]}


class TestShowing:
    def test_images_come_in_pages(self, browser, workers_side):
        ids = {keep(workers_side, (n, n, n), f"{n}.jpg", None) for n in range(0, 250, 50)}
        seen, after, pages = [], None, 0
        while True:
            page = browser.get(URL, query_string={"limit": 2, **({"after": after} if after else {})}).json
            seen += [image["id"] for image in page["images"]]
            pages += 1
            if (after := page["next"]) is None:
                break
        assert (set(seen), len(seen), pages) == (ids, 5, 3)

    def test_images_of_one_label(self, browser, red, blue):
        page = browser.get(URL, query_string={"label": "blue"}).json
        assert [image["id"] for image in page["images"]] == [blue]

    def test_images_are_selected_and_counted(self, browser, red, blue):
        page = browser.get(URL, query_string={"text": "cher", "folder": "reds"}).json
        assert ([image["id"] for image in page["images"]], page["total"]) == ([red], 1)
        assert browser.get(URL, query_string={"after": "zzz"}).status_code == 422
        folders = {each["folder"]: each["count"] for each in browser.get("/api/v1/folders").json["folders"]}
        assert folders == {"reds": 1, "blues": 1}

    @pytest.mark.parametrize(
        "query",
        [
            "added_from=-1.8e308",
            "taken_before=1e300",
            "added_before=nan",
            "unlabelled=1",
            "lable=red",
            "label=a&label=b",
        ],
    )
    def test_a_selection_that_makes_no_sense_is_422(self, browser, query):
        assert browser.get(f"{URL}?{query}").status_code == 422

    def test_the_large_view_is_a_jpeg_without_metadata(self, browser, red):
        answer = browser.get(f"{URL}/{red}/view")
        assert (answer.content_type, answer.status_code) == ("image/jpeg", 200)
        assert "immutable" in answer.headers["Cache-Control"]

    def test_the_thumbnail_is_a_jpeg_without_metadata_that_may_be_kept_for_ever(self, browser, red):
        answer = browser.get(f"{URL}/{red}/thumbnail")
        assert answer.content_type == "image/jpeg"
        assert "immutable" in answer.headers["Cache-Control"]
        assert "private" in answer.headers["Cache-Control"]
        with Image.open(io.BytesIO(answer.data)) as image:
            assert max(image.size) <= 256
            assert not image.getexif()

    def test_an_unchanged_thumbnail_is_not_sent_again(self, browser, red):
        etag = browser.get(f"{URL}/{red}/thumbnail").headers["ETag"]
        again = browser.get(f"{URL}/{red}/thumbnail", headers={"If-None-Match": etag})
        assert (again.status_code, again.data) == (304, b"")

    def test_the_original_is_a_download_that_no_browser_runs(self, browser, workers_side):
        id = keep(workers_side, (77, 7, 7), 'x/"><script>.html', None)
        answer = browser.get(f"{URL}/{id}/original")
        assert answer.data == photo((77, 7, 7))
        assert answer.headers["Content-Disposition"].startswith("attachment; ")
        assert "<" not in answer.headers["Content-Disposition"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
        assert answer.content_type == "image/jpeg"

    @pytest.mark.parametrize("name", ["a\r\nSet-Cookie: x=1.jpg", "..", "con\\aux", "ü.jpg", "\u202egpj.exe"])
    def test_no_name_breaks_the_downloads_header(self, browser, workers_side, name):
        id = keep(workers_side, (7, 77, 7), name, None)
        answer = browser.get(f"{URL}/{id}/original")
        assert answer.status_code == 200
        assert "Set-Cookie" not in answer.headers
        assert "\n" not in answer.headers["Content-Disposition"]

    @pytest.mark.parametrize("tail", ["", "/thumbnail", "/view", "/original"])
    @pytest.mark.parametrize("id", ["0" * 32, "..", "%2e%2e", "x", "Z" * 32])
    def test_an_image_that_is_not_there_is_404(self, browser, id, tail):
        answer = browser.get(f"{URL}/{id}{tail}")
        assert (answer.status_code, answer.content_type) == (404, "application/problem+json")


class TestChanging:
    @pytest.mark.parametrize("label, kept", [("blau", "blau"), ("  ", None), (None, None)])
    def test_a_label_is_changed(self, browser, blue, label, kept):
        answer = browser.patch(f"{URL}/{blue}", json={"label": label})
        assert (answer.status_code, answer.json["label"]) == (200, kept)
        assert browser.get(f"{URL}/{blue}").json["label"] == kept

    @pytest.mark.parametrize("body", [{}, {"label": 3}, {"label": "x" * 201}, {"name": "x"}])
    def test_a_change_that_makes_no_sense_is_422(self, browser, blue, body):
        assert browser.patch(f"{URL}/{blue}", json=body).status_code == 422
        assert browser.get(f"{URL}/{blue}").json["label"] == "blue"

    def test_a_deleted_image_is_gone(self, browser, red, blue):
        assert browser.delete(f"{URL}/{red}").status_code == 204
        assert browser.get(f"{URL}/{red}").status_code == 404
        results = browser.post("/api/v1/search", json={"id": blue}).json["results"]
        assert [result["id"] for result in results] == [blue]

    @pytest.mark.parametrize("method", ["patch", "delete"])
    def test_what_is_not_there_cannot_be_changed(self, browser, method):
        answer = getattr(browser, method)(f"{URL}/{'0' * 32}", json={"label": "x"})
        assert answer.status_code == 404
