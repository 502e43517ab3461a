"""The page of models without JavaScript: training, publishing and going back."""

import pytest

from tests.web.conftest import keep
from tests.web.forms import post
from workers.messages import SweepRequest, TrainRequest


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
