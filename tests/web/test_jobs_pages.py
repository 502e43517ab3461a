"""The page of all jobs, and what one job's page offers."""

import dataclasses

from tests.web.forms import post
from workers.messages import Failure


def test_jobs_show_what_runs_how_fast_and_what_failed(browser, workers_side, red):
    workers_side.is_slow = True
    job = workers_side.index([red])
    running = dataclasses.replace(workers_side.job(job), total=1200, done=300, seconds=30.0)
    workers_side._jobs[job] = running
    workers_side.is_slow = False
    workers_side.index([red], [Failure("holiday/notes.txt", "is no image")])
    page = browser.get("/jobs").text
    assert "300 of 1,200" in page
    assert "10 photos/s, about 1 min 30 s left" in page
    assert "notes.txt: is no image" in page


def test_a_stopped_job_is_tried_again(browser, workers_side, red):
    workers_side.is_slow = True
    job = workers_side.index([red])
    assert "Try again" not in browser.get(f"/jobs/{job}").text
    post(browser, f"/jobs/{job}/stop")
    assert "Try again" in browser.get(f"/jobs/{job}").text
    assert "Try again" in browser.get("/jobs").text
    answer = post(browser, f"/jobs/{job}/retry")
    assert "/jobs/verify-" in answer.headers["Location"]


def test_a_training_draws_its_curves(browser, workers_side):
    job = post(browser, "/models/train", how="fast").headers["Location"].rsplit("/", 1)[1]
    curve = [{"epoch": n, "loss": 2.0 / n, "held_out_map@r": None if n == 1 else 0.5 + n / 100} for n in range(1, 6)]
    detail = {"phase": "training", "curve": curve, "seconds_left": 40}
    workers_side._jobs[job] = dataclasses.replace(workers_side.job(job), state="running", done=5, detail=detail)
    page = browser.get(f"/jobs/{job}").text
    assert 'aria-label="Loss: from 2.000 to 0.400"' in page
    assert 'aria-label="mAP@R of what was held out: from 52.0% to 55.0%"' in page
    assert "about 40 s left" in page


def test_a_training_that_waits_says_for_what(browser, workers_side):
    post(browser, "/models/train", how="fast")
    start = workers_side.trainings.start

    def wait(request):
        job = start(request)
        detail = {"phase": "waiting for its turn: train-1 is under way"}
        workers_side._jobs[job] = dataclasses.replace(workers_side.job(job), state="running", detail=detail)
        return job

    workers_side.trainings.start = wait
    answer = post(browser, "/models/train", how="sweep")
    page = browser.get(answer.headers["Location"]).text
    assert "this one starts when that has ended" in page
    assert "waiting for its turn: train-1 is under way" in page
