"""The page that adds photos: scripts send many in small batches; the plain form sends them at once."""

from flask import Blueprint, current_app, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from web.access import audit, requires
from web.api import uploads
from web.backend import client
from web.bodies import MANY_IMAGES, accepts_images
from workers.client import Role

blueprint = Blueprint("adding", __name__)


@blueprint.get("/add")
@requires(Role.EDITOR)
def page() -> ResponseReturnValue:
    """The form."""
    return render_template("add.html")


@blueprint.post("/add")
@requires(Role.EDITOR)
@accepts_images(MANY_IMAGES)
def add() -> ResponseReturnValue:
    """The form without JavaScript: stores the photos and shows the job."""
    images = [image for image in request.files.getlist("images") if image.filename]
    max_bytes = current_app.config["MAX_IMAGE_BYTES"]
    label = uploads.typed_label(request.form.get("label", ""))
    audit.changes("add", label=label)
    upload = uploads.keep(client(), images, label, max_bytes=max_bytes)
    if upload.job is None:
        return render_template("add.html", refused=upload.files, nothing_chosen=not images), 422
    return redirect(url_for("jobs.job", job_id=upload.job))
