"""Labels as things: a queue of photos without one, and a page for each label."""

import contextlib
from collections.abc import Iterable
from dataclasses import replace

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from web.access import requires
from web.api.changes import change
from web.api.uploads import typed_label
from web.backend import client, image_id
from web.pages.words import photos, told_of
from workers.client import NotFound, Role
from workers.messages import Selection, Skipped

blueprint = Blueprint("labelling", __name__)

MOST_OF_A_GROUP = 24
TYPICAL = 18  # images of a label's page


@blueprint.get("/unlabelled")
@requires(Role.VIEWER)
def queue() -> ResponseReturnValue:
    """One group of photos without a label, with the label that is proposed; `skip` says how many were passed over."""
    skip = max(0, request.args.get("skip", 0, type=int))
    found = client().labelling.proposals(1, skip=skip)
    if skip and not found.groups:  # somebody has answered the last ones meanwhile
        skip, found = 0, client().labelling.proposals(1)
    group = found.groups[0] if found.groups else None
    return render_template(
        "unlabelled.html",
        group=group,
        images_shown=group.images[:MOST_OF_A_GROUP] if group else (),
        total=found.total,
        groups=found.count,
        skip=skip,
        labels=client().labels(),
    )


@blueprint.post("/unlabelled")
@requires(Role.EDITOR)
def confirm() -> ResponseReturnValue:
    """Gives the chosen photos their label; one that has got a label elsewhere meanwhile keeps that."""
    skip = max(0, request.form.get("skip", 0, type=int))
    label = typed_label(request.form.get("label", ""))
    asked = list(dict.fromkeys(request.form.getlist("ids")))
    if label is None:
        flash("Type the label to give.")
    elif not asked:
        flash("No photo was chosen.")
    else:
        labelled = _labelled_meanwhile(asked)
        done = change("label", [id for id in asked if id not in labelled], label)
        done = replace(done, skipped=[*labelled.values(), *done.skipped])
        told = told_of(done, f"{photos(len(done.ids))} labelled {label}.")
        flash(told, f"undo:{done.job}" if done.job else "message")
    return redirect(url_for("labelling.queue", skip=skip or None))


def _labelled_meanwhile(ids: Iterable[str]) -> dict[str, Skipped]:
    """Those of the images that have a label by now."""
    found = {}
    for id in ids:
        with contextlib.suppress(NotFound):
            image = client().image(image_id(id))
            if image.label is not None:
                found[id] = Skipped(id, image.name, f"it has got the label {image.label} meanwhile")
    return found


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
