"""Models: which there are, which one answers, and how to get a better one out of the gallery's labels."""

import contextlib

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from web.access import audit, requires
from web.access.resume import came_from
from web.api.models import save_photo, start_training
from web.api.schemas.models import MAX_TRIALS
from web.backend import client, image_id
from web.bodies import accepts_images
from web.pages.words import left_out
from workers.client import NotFound, Role, UnreadableImage

blueprint = Blueprint("models", __name__)

KINDS = ("train", "sweep", "tune", "publish")


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
        queries=ours.queries.all(),
    )


@blueprint.post("/models/train")
@requires(Role.ADMIN)
def train() -> ResponseReturnValue:
    """Starts a training or a sweep on the labelled gallery, and shows its job."""
    how = request.form.get("how", "")
    audit.changes("train", how=how)
    publish = bool(request.form.get("publish"))
    job = start_training(how, trials=request.form.get("trials", 12, type=int), publish=publish)
    if client().job(job).waits_for_its_turn:
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
    preview = bool(request.form.get("preview"))
    audit.changes("publish", [model], force=force, preview=preview)
    job = client().publish(model, force=force, preview=preview)
    return redirect(url_for("jobs.job", job_id=job))


@blueprint.get("/jobs/<job_id>/preview")
@requires(Role.EDITOR)
def preview(job_id: str) -> ResponseReturnValue:
    """What a model that waits would answer, beside what the active one does."""
    job = client().job(job_id)
    queries = client().previewed(job.job)
    return render_template("preview.html", job=job, queries=queries, active=client().active())


@blueprint.post("/queries")
@requires(Role.EDITOR)
def save_query() -> ResponseReturnValue:
    """Keeps an image of the gallery as a query."""
    id = request.form.get("id", "")
    audit.changes("save query", [id])
    try:
        client().save_query(id=image_id(id))
        flash("Saved: previews of new models show what they answer to it.")
    except NotFound:
        flash(f"Nothing was saved. {left_out([client().gallery.skipped(id)])}")
    return redirect(came_from(request))


@blueprint.post("/queries/photo")
@requires(Role.EDITOR)
@accepts_images(1)
def save_photo_query() -> ResponseReturnValue:
    """Keeps a photo as a query, without adding it to the gallery."""
    photo = request.files.get("image")
    try:
        if photo is None or not photo.filename:
            flash("No photo was chosen.")
        else:
            save_photo(photo)
            flash("Saved: previews of new models show what they answer to it.")
    except UnreadableImage as error:
        flash(f"{photo.filename if photo else 'It'} {error.message}.")
    return redirect(url_for("models.page"))


@blueprint.post("/queries/forget")
@requires(Role.EDITOR)
def forget_query() -> ResponseReturnValue:
    """Keeps a query no longer."""
    id = image_id(request.form.get("id", ""))
    audit.changes("forget query", [id])
    with contextlib.suppress(NotFound):  # somebody else was faster
        flash("The query is kept no longer.", f"undo:{client().changes.forget_query(id)}")
    return redirect(url_for("models.page"))


@blueprint.post("/models/rollback")
@requires(Role.ADMIN)
def rollback() -> ResponseReturnValue:
    """Switches back to the model before; photos that are newer follow in a job."""
    audit.changes("roll back")
    client().rollback()
    return redirect(url_for("models.page"))
