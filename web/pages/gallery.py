"""The gallery's pages: browse by label, look at one photo, change labels, delete; undo, and the trash."""

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import UnprocessableEntity

from web.access import audit, requires
from web.access.resume import came_from
from web.api.changes import change
from web.api.uploads import typed_label
from web.backend import client, image_id, page_start
from web.pages.filters import Filters
from web.pages.words import FOLLOWS, photos, told_of
from workers.client import NotFound, Role

blueprint = Blueprint("gallery", __name__)

PAGE = 60
FOLDERS = 500  # suggested ones
TRASH_SHOWN = 500


@blueprint.get("/gallery")
@requires(Role.VIEWER)
def page() -> ResponseReturnValue:
    """Images, the newest first, a page at a time: all of them, or those that the address selects."""
    filters = Filters.of(request.args)
    shown = client().page(filters.selection(), page_start(request.args.get("after")), PAGE)
    labels, folders = client().labels(), client().folders()
    return render_template("gallery.html", page=shown, filters=filters, labels=labels, folders=list(folders)[:FOLDERS])


@blueprint.get("/images/<id>")
@requires(Role.VIEWER)
def image(id: str) -> ResponseReturnValue:
    """One image: what is known of it, and what can be done with it."""
    return render_template("image.html", image=client().image(image_id(id)))


@blueprint.post("/images")
@requires(Role.EDITOR)
def edit() -> ResponseReturnValue:
    """Labels, unlabels or deletes the chosen images, then goes back to where the form was."""
    ids = request.form.getlist("ids")
    action = request.form.get("action", "")
    label = typed_label(request.form.get("label", "")) if action == "label" else None
    if not ids:
        flash("No photo was chosen.")
    elif action == "label" and label is None:
        flash("Type the label to give; to take labels away, choose Remove label.")
    else:
        done = change(action, ids, label)
        told = {
            "label": f"{photos(len(done.ids))} labelled {label}.",
            "remove_label": f"{photos(len(done.ids))} without a label now.",
            "delete": f"{photos(len(done.ids))} moved to the trash.",
        }[action]
        flash(told_of(done, told), f"undo:{done.job}" if done.job else "message")
        if action == "delete" and came_from(request) in {url_for("gallery.image", id=id) for id in ids}:
            return redirect(url_for("gallery.page"))
    return redirect(came_from(request))


@blueprint.post("/labels")
@requires(Role.EDITOR)
def edit_label() -> ResponseReturnValue:
    """Renames a label, merges it with another, or takes it away from all of its photos."""
    label, action = request.form.get("label", ""), request.form.get("action")
    by = typed_label(request.form.get("by", "")) if action == "rename" else None
    if action not in ("rename", "remove"):
        raise UnprocessableEntity("the form names no action")
    if action == "rename" and by is None:
        flash("Type the new name of the label.")
        return redirect(came_from(request))
    audit.changes("replace label", label=label, by=by)
    try:
        done = client().replace_label(label, by)
        told = f"{photos(len(done.ids))} labelled {by} now." if by else f"{photos(len(done.ids))} without a label now."
        flash(told_of(done, told), f"undo:{done.job}" if done.job else "message")
    except NotFound as error:
        flash(f"{error.message[0].upper()}{error.message[1:]}.")
    return redirect(url_for("gallery.page", label=by))


@blueprint.post("/undo")
@requires(Role.EDITOR)
def undo() -> ResponseReturnValue:
    """Takes back the change that a message offers to undo."""
    job = request.form.get("job", "")
    audit.changes("undo", [job])
    try:
        undone = client().undo(job)
        count = undone.total
        is_of_photos = not job.startswith(("apart-", "query-"))
        nothing = "Nothing was left to undo." if is_of_photos else "Undone."
        told = f"Undone: {photos(count)} as before." if count else nothing
        flash(told if undone.is_finished or not count else f"{told} {FOLLOWS}")
    except NotFound as error:
        flash(f"{error.message[0].upper()}{error.message[1:]}: {error.hint}.")
    return redirect(came_from(request))


@blueprint.get("/trash")
@requires(Role.VIEWER)
def trash() -> ResponseReturnValue:
    """What was deleted, the latest first."""
    images, total = client().changes.trashed(TRASH_SHOWN)
    return render_template("trash.html", images_shown=images, total=total, days=client().settings.trash_days)


@blueprint.post("/trash")
@requires(Role.EDITOR)
def edit_trash() -> ResponseReturnValue:
    """Restores the chosen images, removes them for good, or empties the trash."""
    ids = request.form.getlist("ids")
    action = request.form.get("action")
    if action == "empty":
        audit.changes("empty the trash")
        flash(f"{photos(len(client().changes.empty_trash().ids))} removed for good.")
    elif action not in ("restore", "remove"):
        raise UnprocessableEntity("the form names no action")
    elif not ids:
        flash("No photo was chosen.")
    else:
        audit.changes(action, ids)
        done = client().restore(ids) if action == "restore" else client().changes.empty_trash(ids)
        flash(told_of(done, f"{photos(len(done.ids))} {'restored' if action == 'restore' else 'removed for good'}."))
    return redirect(url_for("gallery.trash"))
