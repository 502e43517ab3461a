"""Labels as things: a queue of photos without one, and a page for each label."""

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from web.access import requires
from web.api.changes import change
from web.api.uploads import typed_label
from web.backend import client, image_id
from workers.client import NotFound, Role
from workers.messages import Selection

blueprint = Blueprint("labelling", __name__)

MOST_OF_A_GROUP = 24
TYPICAL = 18  # images of a label's page


@blueprint.get("/unlabelled")
@requires(Role.VIEWER)
def queue() -> ResponseReturnValue:
    """One group of photos without a label, with the label that is proposed; `skip` says how many were passed over."""
    skip = max(0, request.args.get("skip", 0, type=int))
    found = client().labelling.proposals()
    skip = skip if skip < len(found.groups) else 0
    group = found.groups[skip] if found.groups else None
    return render_template(
        "unlabelled.html",
        group=group,
        images_shown=group.images[:MOST_OF_A_GROUP] if group else (),
        total=found.total,
        groups=len(found.groups),
        skip=skip,
        labels=client().labels(),
    )


@blueprint.post("/unlabelled")
@requires(Role.EDITOR)
def confirm() -> ResponseReturnValue:
    """Gives the chosen photos their label; one that has got a label elsewhere meanwhile keeps that."""
    skip = max(0, request.form.get("skip", 0, type=int))
    label = typed_label(request.form.get("label", ""))
    ids = [id for id in dict.fromkeys(request.form.getlist("ids")) if _is_unlabelled(id)]
    if label is None:
        flash("Type the label to give.")
    elif not ids:
        flash(
            "None of these photos is without a label any more." if request.form.get("ids") else "No photo was chosen."
        )
    else:
        done = change("label", ids, label)
        count = len(done.ids)
        flash(f"{'1 photo' if count == 1 else f'{count:,} photos'} labelled {label}.", f"undo:{done.job}")
    return redirect(url_for("labelling.queue", skip=skip or None))


def _is_unlabelled(id: str) -> bool:
    try:
        return client().image(image_id(id)).label is None
    except NotFound:
        return False


@blueprint.get("/label")
@requires(Role.VIEWER)
def label() -> ResponseReturnValue:
    """One label: its photos, how to rename, merge or remove it, and what it may be wrong for."""
    name = request.args.get("name", "")
    page = client().page(Selection(label=name), None, TYPICAL)
    if not page.total:
        raise NotFound(f"no photo has the label {name}", hint="it may have been renamed or removed")
    return render_template(
        "label.html",
        label=name,
        page=page,
        outliers=client().labelling.outliers(name).outliers,
        labels=client().labels(),
    )
