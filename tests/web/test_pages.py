"""The pages without JavaScript: every one can be read and used."""

import io
import re

import pytest

from tests.web.conftest import keep
from tests.web.stand_in import photo
from workers.messages import SweepRequest, TrainRequest


def csrf_token(browser, path="/"):
    return re.search(r'name="csrf_token" value="([^"]+)"', browser.get(path).text)[1]


def post(browser, path, referrer=None, **fields):
    headers = {"Referer": f"http://localhost{referrer}"} if referrer else {}
    return browser.post(path, data={"csrf_token": csrf_token(browser), **fields}, headers=headers)


class TestSearchPage:
    def test_an_empty_gallery_says_how_to_fill_it(self, browser):
        page = browser.get("/").text
        assert "Your gallery is empty" in page
        assert "lookalike index" in page

    def test_it_offers_images_to_start_from(self, browser, red, blue):
        page = browser.get("/").text
        assert f"/?id={red}" in page
        assert f"/api/v1/images/{blue}/thumbnail" in page

    def test_an_address_with_an_image_shows_its_results_and_not_itself(self, browser, red, blue):
        page = browser.get(f"/?id={red}&k=6").text
        assert "Nothing else in your gallery matches" in page
        assert re.search(rf'id="own">.*href="/images/{red}"', page)
        assert (f'data-id="{red}"' in page, f'data-id="{blue}"' in page) == (False, True)
        assert "stand-in" in page

    def test_results_link_to_a_search_with_the_same_options(self, browser, workers_side, red):
        another = keep(workers_side, (190, 30, 30), "another.jpg", "red")
        page = browser.get(f"/?id={red}&k=24&label=red&rerank=1").text
        link = re.search(r'class="photo" href="([^"]+)"', page)[1]
        assert link == f"/?id={another}&amp;k=24&amp;label=red&amp;rerank=1"

    def test_matches_stand_above_a_line_with_a_badge_and_the_others_below(self, browser, workers_side, red, blue):
        another = keep(workers_side, (190, 30, 30), "another.jpg", "red")
        page = browser.get(f"/?id={red}").text
        assert "1 match of 2 most similar" in page
        above, below = page.split('id="results"')[1].split('<li class="divide"')[:2]
        assert (f'data-id="{another}"' in above, f'data-id="{blue}"' in below) == (True, True)
        badges = [re.search(r'<span class="badge" (hidden)?', part)[1] for part in (above, below)]
        assert badges == [None, "hidden"]
        assert '<details class="strangers" id="strangers" open>' in page

    def test_where_nothing_matches_the_strangers_are_folded_away(self, browser, red):
        answer = post(browser, "/", image=(io.BytesIO(photo((10, 220, 10))), "mine.jpg"))
        assert "Nothing in your gallery matches" in answer.text
        assert '<details class="strangers" id="strangers">' in answer.text
        assert 'id="own" hidden' in answer.text

    def test_a_photo_that_is_in_the_gallery_is_told_by_its_content(self, browser, red, blue):
        answer = post(browser, "/", image=(io.BytesIO(photo((200, 30, 30))), "mine.jpg"))
        assert re.search(rf'id="own">.*href="/images/{red}"', answer.text)
        assert f'data-id="{red}"' not in answer.text

    def test_a_photo_can_be_searched_with_by_the_plain_form(self, browser, red, blue):
        answer = post(browser, "/", image=(io.BytesIO(photo((10, 10, 220))), "mine.jpg"), k="6")
        assert answer.status_code == 200
        assert "mine.jpg" in answer.text
        assert answer.text.index(f'data-id="{blue}"') < answer.text.index(f'data-id="{red}"')

    @pytest.mark.parametrize("data, reason", [(b"text", "notes.txt is no image"), (b"", "notes.txt is empty")])
    def test_a_file_that_is_no_image_is_refused_with_the_form_still_there(self, browser, data, reason):
        answer = post(browser, "/", image=(io.BytesIO(data), "notes.txt"))
        assert answer.status_code == 422
        assert reason in answer.text
        assert 'name="image"' in answer.text

    def test_the_form_without_a_photo_says_so(self, browser):
        answer = post(browser, "/")
        assert answer.status_code == 422
        assert "No photo was chosen" in answer.text

    def test_the_form_beside_a_result_searches_again_with_the_same_image(self, browser, red):
        answer = post(browser, "/", id=red, k="24")
        assert (answer.status_code, answer.headers["Location"]) == (302, f"/?id={red}&k=24")

    @pytest.mark.parametrize("query", ["id=zz", f"id={'0' * 32}", "id=../x"])
    def test_an_image_that_is_gone_is_404_and_said(self, browser, red, query):
        answer = browser.get(f"/?{query}")
        assert answer.status_code == 404
        assert "there is no image" in answer.text

    @pytest.mark.parametrize("query", ["k=0", "k=-5", "k=99999999", "k=x", "label=" + "y" * 999, "rerank=maybe"])
    def test_options_that_make_no_sense_become_some_that_do(self, browser, red, query):
        assert browser.get(f"/?id={red}&{query}").status_code == 200

    def test_while_the_workers_are_away_it_says_so_at_once(self, browser, workers_side, red):
        workers_side.is_down = True
        start = browser.get("/")
        assert start.status_code == 200
        assert "the queue does not answer" in start.text
        answer = browser.get(f"/?id={red}")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


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
        assert "The gallery is empty" in browser.get("/gallery").text
        assert "No photo is like that" in browser.get("/gallery?label=none").text

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
        for fact in ("healthy", "stand-in", "321 MB", "Waiting in index", "LOOKALIKE_DEVICE"):
            assert fact in page

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

    def test_an_unexpected_error_is_a_page_that_tells_nothing_of_the_inside(self, browser, workers_side, monkeypatch):
        monkeypatch.setattr(workers_side, "labels", lambda: 1 / 0)
        answer = browser.get("/gallery")
        assert (answer.status_code, answer.mimetype) == (500, "text/html")
        assert "division" not in answer.text


def test_the_gallery_says_how_many_photos_it_shows(browser, workers_side):
    for shade in (10, 60, 110):
        keep(workers_side, (200, shade, 0), f"reds/{shade}.jpg", "red")
    keep(workers_side, (0, 0, 200), "blues/1.jpg", "blue")
    assert "4 photos" in browser.get("/gallery").text
    assert "3 photos" in browser.get("/gallery?label=red").text
    assert "1 photo<" in browser.get("/gallery?label=blue").text


class TestModels:
    @pytest.fixture
    def labelled(self, workers_side):
        for shade in (10, 60, 110):
            keep(workers_side, (200, shade, 0), f"reds/{shade}.jpg", "red")
            keep(workers_side, (0, shade, 200), f"blues/{shade}.jpg", "blue")

    def test_it_lists_models_with_their_quality_and_which_answers(self, browser):
        page = browser.get("/models").text
        assert "80.5 %" in page and "98.8 %" in page and "of 2 classes" in page
        assert 'aria-label="Publish better"' in page
        assert 'aria-label="Publish untrained"' not in page
        assert "Go back to" not in page

    def test_without_labels_it_says_what_training_needs(self, browser, workers_side):
        keep(workers_side, (200, 0, 0), "reds/1.jpg", "red")
        page = browser.get("/models").text
        assert "at least two labels with two photos each" in page
        assert "1 labelled photo under 1 label." in page
        assert 'name="how"' not in page

    def test_a_machine_that_cannot_train_says_where_to(self, browser, workers_side, labelled):
        workers_side.has_torch = False
        page = browser.get("/models").text
        assert "Training's packages are not installed here" in page.replace("&#39;", "'")
        assert "make train" in page
        assert 'name="how"' not in page

    @pytest.mark.parametrize(
        "fields, training",
        [
            ({"how": "accurate"}, TrainRequest("gallery", preset="accurate")),
            ({"how": "fast", "publish": "1"}, TrainRequest("gallery", preset="fast", publish=True)),
            ({"how": "sweep", "trials": "5"}, SweepRequest(("gallery",), trials=5)),
            ({"how": "sweep", "trials": "1000000"}, SweepRequest(("gallery",), trials=200)),
            ({"how": "sweep", "trials": "many"}, SweepRequest(("gallery",), trials=12)),
        ],
    )
    def test_the_form_starts_a_run_and_shows_its_job(self, browser, workers_side, labelled, fields, training):
        answer = post(browser, "/models/train", **fields)
        assert answer.status_code == 302
        assert workers_side.asked[-1] == {"training": training}
        assert training.kind.capitalize() in browser.get(answer.headers["Location"]).text

    def test_a_finished_training_shows_its_figures_and_can_be_published(self, browser, labelled):
        job = post(browser, "/models/train", how="fast").headers["Location"]
        page = browser.get(job).text
        assert "80.5 %" in page and ">Publish it</button>" in page
        published = post(browser, "/models/publish", model="better").headers["Location"]
        assert "Publish it" not in browser.get(job).text
        assert "better answers searches now" in browser.get(job).text
        assert browser.get(published).status_code == 200

    def test_what_has_ended_stays_listed(self, browser, workers_side, labelled):
        job = post(browser, "/models/train", how="fast").headers["Location"]
        page = browser.get("/models").text
        assert "Recent" in page
        assert f'href="{job}"' in page.split("Recent")[1]

    def test_another_way_to_train_is_refused(self, browser, workers_side, labelled):
        assert post(browser, "/models/train", how="--resume").status_code == 409
        assert not [asked for asked in workers_side.asked if "training" in asked]

    def test_a_model_is_published_and_rolled_back(self, browser, workers_side):
        assert post(browser, "/models/publish", model="better").status_code == 302
        assert workers_side.now.model == "better"
        assert "Go back to untrained" in browser.get("/models").text
        assert post(browser, "/models/rollback").headers["Location"] == "/models"
        assert workers_side.now.model == "untrained"

    def test_the_model_is_tuned_to_the_gallery_and_rolled_back(self, browser, workers_side):
        assert ">Tune</button>" in browser.get("/models").text
        job = post(browser, "/models/tune").headers["Location"]
        assert "Tuning" in browser.get(job).text
        assert workers_side.now.model == "untrained-tuned"
        post(browser, "/models/rollback")
        assert workers_side.now.model == "untrained"

    def test_a_model_that_is_worse_can_be_published_anyway(self, browser, workers_side):
        workers_side.is_worse = True
        job = post(browser, "/models/publish", model="better").headers["Location"]
        page = browser.get(job).text
        assert "mAP@R is worse" in page and "Publish it anyway" in page
        assert workers_side.now.model == "untrained"
        post(browser, "/models/publish", model="better", force="1")
        assert workers_side.now.model == "better"

    @pytest.mark.parametrize("model, status", [("../active", 404), ("untrained", 409)])
    def test_what_cannot_be_published_is_refused(self, browser, model, status):
        assert post(browser, "/models/publish", model=model).status_code == status

    def test_without_an_earlier_model_there_is_no_way_back(self, browser):
        answer = post(browser, "/models/rollback")
        assert answer.status_code == 409
        assert "nothing to roll back to" in answer.text

    def test_what_runs_is_shown_and_can_be_stopped(self, browser, workers_side, labelled):
        workers_side.is_slow = True
        job = post(browser, "/models/train", how="accurate").headers["Location"]
        assert f'href="{job}"' in browser.get("/models").text
        assert "0 of 12 epochs" in browser.get(job).text
        assert post(browser, f"{job}/stop").headers["Location"] == job
        assert "stopped" in browser.get(job).text
        assert f'href="{job}"' not in browser.get("/models").text
