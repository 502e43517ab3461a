"""Labels, jobs, health, and the probes that need no token."""

import pytest


def test_labels_are_counted(browser, red, blue):
    assert browser.get("/api/v1/labels").json == {
        "labels": [{"label": "blue", "count": 1}, {"label": "red", "count": 1}]
    }


def test_a_job_is_shown(browser, workers_side, red):
    job = workers_side.index([red])
    assert browser.get(f"/api/v1/jobs/{job}").json["state"] == "done"


def test_a_job_that_is_not_there_is_404(browser):
    answer = browser.get("/api/v1/jobs/none")
    assert (answer.status_code, answer.content_type) == (404, "application/problem+json")


def test_jobs_are_listed_stopped_and_done_again(browser, workers_side, red):
    workers_side.is_slow = True
    job = workers_side.index([red])
    assert [each["state"] for each in browser.get("/api/v1/jobs").json["jobs"] if each["job"] == job] == ["running"]
    assert browser.post(f"/api/v1/jobs/{job}/retry").status_code == 409
    assert browser.post(f"/api/v1/jobs/{job}/stop").json["state"] == "stopped"
    again = browser.post(f"/api/v1/jobs/{job}/retry")
    assert again.status_code == 202
    assert again.json["kind"] == "verify"


def test_health_is_200_while_all_is_well(browser):
    answer = browser.get("/api/v1/health")
    assert (answer.status_code, answer.json["healthy"]) == (200, True)
    assert answer.json["workers"][0]["device"] == "cpu"


def test_health_is_503_and_says_why_when_something_is_wrong(browser, workers_side):
    workers_side.is_down = True
    answer = browser.get("/api/v1/health")
    assert (answer.status_code, answer.json["problems"]) == (503, ["the queue does not answer: start it"])


def test_the_portal_lives_while_the_queue_is_away_but_is_not_ready(browser, workers_side):
    workers_side.is_down = True
    assert browser.get("/health/live").status_code == 200
    not_ready = browser.get("/health/ready")
    assert (not_ready.status_code, not_ready.headers["Retry-After"]) == (503, "5")
    workers_side.is_down = False
    assert browser.get("/health/ready").status_code == 200


def test_an_address_that_does_not_exist_is_a_problem(browser):
    answer = browser.get("/api/v1/nothing")
    assert (answer.status_code, answer.content_type) == (404, "application/problem+json")


def test_a_method_that_does_not_exist_is_a_problem_that_names_those_that_do(browser):
    answer = browser.put("/api/v1/search")
    assert (answer.status_code, answer.content_type) == (405, "application/problem+json")
    assert "POST" in answer.headers["Allow"]


@pytest.mark.parametrize("how", ["fast", "accurate", "sweep"])
def test_a_training_is_started_and_followed(browser, workers_side, how):
    started = browser.post("/api/v1/models/train", json={"how": how, "trials": 3, "publish": True})
    assert started.status_code == 202
    asked = workers_side.asked[-1]["training"]
    assert asked.publish
    assert (asked.kind == "sweep" and asked.trials == 3) if how == "sweep" else asked.preset == how
    assert browser.get(f"/api/v1/jobs/{started.json['job']}").json["kind"] == asked.kind
    assert browser.post("/api/v1/models/train", json={"how": "magic"}).status_code == 422


def test_a_model_is_tuned_and_rolled_back(browser, workers_side):
    assert browser.post("/api/v1/models/rollback").status_code == 409
    assert browser.post("/api/v1/models/tune").status_code == 202
    assert workers_side.active().model == "untrained-tuned"
    models = browser.post("/api/v1/models/rollback").json["models"]
    assert [model["name"] for model in models if model["is_active"]] == ["untrained"]
