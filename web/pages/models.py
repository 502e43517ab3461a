"""Models: which there are, which one answers, and how to get a better one out of the gallery's labels."""

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from web.access import audit, requires
from web.backend import client
from workers.client import WAITING, Refused, Role
from workers.messages import SweepRequest, TrainRequest

blueprint = Blueprint("models", __name__)

PRESETS = ("fast", "accurate")
KINDS = ("train", "sweep", "tune", "publish")
MAX_TRIALS = 200


@blueprint.get("/models")
@requires(Role.VIEWER)
def page() -> ResponseReturnValue:
    """Every model with its quality, what runs now, and the form that trains."""
    ours = client()
    counts = [each.count for each in ours.labels()]
    return render_template(
        "models.html",
        models=ours.models()[::-1],
        active=ours.active(),
        previous=ours.registry.previous(),
        running=[job for job in ours.running() if job.kind in KINDS],
        ended=ours.ended(KINDS),
        labelled=sum(counts),
        labels=len(counts),
        answers=ours.answers_since_training(),
        can_train=ours.trainings.can_start(),
        is_enough=sum(count >= 2 for count in counts) >= 2,
        max_trials=MAX_TRIALS,
    )


@blueprint.post("/models/train")
@requires(Role.ADMIN)
def train() -> ResponseReturnValue:
    """Starts a training or a sweep on the labelled gallery, and shows its job."""
    how = request.form.get("how", "")
    audit.changes("train", how=how)
    publish = bool(request.form.get("publish"))
    if how == "sweep":
        trials = request.form.get("trials", 12, type=int)
        trials = min(max(2, trials), MAX_TRIALS)
        job = client().trainings.start(SweepRequest(("gallery",), trials=trials, publish=publish))
    elif how in PRESETS:
        job = client().trainings.start(TrainRequest("gallery", preset=how, publish=publish))
    else:
        raise Refused("there is no such way to train", hint="choose fast, accurate or sweep")
    if client().job(job).detail.get("phase", "").startswith(WAITING):
        flash("Another training is under way: this one starts when that has ended.")
    return redirect(url_for("jobs.job", job_id=job))


@blueprint.post("/models/tune")
@requires(Role.ADMIN)
def tune() -> ResponseReturnValue:
    """Fits the model that answers to the gallery, without labels, and shows the job."""
    audit.changes("tune")
    return redirect(url_for("jobs.job", job_id=client().tune()))


@blueprint.post("/models/publish")
@requires(Role.ADMIN)
def publish() -> ResponseReturnValue:
    """Starts to publish a model, and shows the job; with `force` also one whose neighbours are worse."""
    model, force = request.form.get("model", ""), bool(request.form.get("force"))
    audit.changes("publish", [model], force=force)
    job = client().publish(model, force=force)
    return redirect(url_for("jobs.job", job_id=job))


@blueprint.post("/models/rollback")
@requires(Role.ADMIN)
def rollback() -> ResponseReturnValue:
    """Switches back to the model before; photos that are newer follow in a job."""
    audit.changes("roll back")
    client().rollback()
    return redirect(url_for("models.page"))
