"""Duplicates: copies of photos as groups, of which one is kept; and which are none."""

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import UnprocessableEntity

from web.access import audit, requires
from web.api.duplicates import GROUPS, keep, set_apart
from web.backend import client
from web.pages.words import told_of
from workers.client import COPY_FROM, NotFound, Role, copy_groups

blueprint = Blueprint("duplicates", __name__)


@blueprint.get("/duplicates")
@requires(Role.VIEWER)
def page() -> ResponseReturnValue:
    """The groups that were found last, and how far looking for them is."""
    job = client().duplicates.latest()
    groups, total = copy_groups(client(), job.job, GROUPS) if job else ([], 0)
    return render_template("duplicates.html", job=job, groups=groups, total=total)


@blueprint.post("/duplicates/find")
@requires(Role.EDITOR)
def find() -> ResponseReturnValue:
    """Looks through the whole gallery, unless that is under way."""
    job = client().duplicates.latest()
    if job is None or job.is_finished:
        audit.changes("look for duplicates")
        client().duplicates.start(COPY_FROM)
    return redirect(url_for("duplicates.page"))


@blueprint.post("/duplicates")
@requires(Role.EDITOR)
def edit() -> ResponseReturnValue:
    """Keeps the chosen one of a group, or remembers that its photos are no duplicates."""
    ids, kept, action = request.form.getlist("ids"), request.form.get("keep", ""), request.form.get("action")
    if action == "apart":
        flash("Remembered: these are no duplicates.", f"undo:{set_apart(ids)}")
    elif action == "keep":
        try:
            done = keep(kept, ids)
            count = f"{len(done.ids):,} {'copy' if len(done.ids) == 1 else 'copies'}"
            flash(told_of(done, f"{count} moved to the trash."), f"undo:{done.job}" if done.job else "message")
        except NotFound:
            flash("The photo to keep is no longer there, so nothing was changed.")
    else:
        raise UnprocessableEntity("the form names no action")
    return redirect(url_for("duplicates.page"))
