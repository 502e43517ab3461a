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
    assert '<span class="state running" data-field="state">waiting</span>' in page


def test_a_phase_of_a_training_has_a_bar_of_its_own(browser, workers_side):
    job = post(browser, "/models/train", how="fast").headers["Location"].rsplit("/", 1)[1]
    detail = {"phase": "reading views", "counted": [64, 90]}
    workers_side._jobs[job] = dataclasses.replace(
        workers_side.job(job), state="running", done=0, total=0, detail=detail
    )
    for page in (f"/jobs/{job}", "/jobs"):
        told = browser.get(page).text
        assert "reading views, 64 of 90" in told and '<progress max="90" value="64"' in told


def test_a_job_that_waits_for_a_look_says_so_in_its_state(browser, workers_side):
    job = post(browser, "/models/publish", model="better", preview="1").headers["Location"].rsplit("/", 1)[1]
    assert 'data-field="state">waiting</span>' in browser.get(f"/jobs/{job}").text


def test_what_counts_nothing_is_not_said_to_have_done_nothing(browser, workers_side):
    job = post(browser, "/models/train", how="fast").headers["Location"].rsplit("/", 1)[1]
    workers_side._jobs[job] = dataclasses.replace(workers_side.job(job), state="done", done=0, total=0, ended_at=1.8e9)
    assert '<td class="n" data-head="Done">–</td>' in browser.get("/jobs").text
