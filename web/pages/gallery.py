"""The gallery's pages: browse by label, look at one photo, change labels, delete."""

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import UnprocessableEntity

from web.access import audit, requires
from web.access.resume import came_from
from web.api.uploads import tidy_label, typed_label
from web.backend import client, image_id, page_start
from workers.client import Role

blueprint = Blueprint("gallery", __name__)

PAGE = 60


@blueprint.get("/gallery")
@requires(Role.VIEWER)
def page() -> ResponseReturnValue:
    """Images, a page at a time, of one label or of all."""
    label = tidy_label(request.args.get("label"))
    images, following = client().images(label=label, after=page_start(request.args.get("after")), limit=PAGE)
    labels = client().labels()
    of_label = {each.label: each.count for each in labels}
    total = of_label.get(label, 0) if label else client().status().images or len(images)
    return render_template("gallery.html", images_shown=images, next=following, label=label, labels=labels, total=total)


@blueprint.get("/images/<id>")
@requires(Role.VIEWER)
def image(id: str) -> ResponseReturnValue:
    """One image: what is known of it, and what can be done with it."""
    return render_template("image.html", image=client().image(image_id(id)))


@blueprint.post("/images")
@requires(Role.EDITOR)
def edit() -> ResponseReturnValue:
    """Labels or deletes the chosen images, then goes back to where the form was."""
    ids = [client().image(image_id(id)).id for id in dict.fromkeys(request.form.getlist("ids"))]
    action = request.form.get("action")
    if not ids:
        flash("No photo was chosen.")
    elif action == "label":
        label = typed_label(request.form.get("label", ""))
        audit.changes("label", ids, label=label)
        client().label(ids, label)
        flash(f"{_photos(len(ids))} labelled {label}." if label else f"{_photos(len(ids))} without a label now.")
    elif action == "delete":
        audit.changes("delete", ids)
        client().delete(ids)
        flash(f"{_photos(len(ids))} deleted.")
        if came_from(request) in {url_for("gallery.image", id=id) for id in ids}:
            return redirect(url_for("gallery.page"))
    else:
        raise UnprocessableEntity("the form names no action")
    return redirect(came_from(request))


def _photos(count: int) -> str:
    return "1 photo" if count == 1 else f"{count} photos"
