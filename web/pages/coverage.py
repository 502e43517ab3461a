"""What was found in each indexed folder, and the answer to: why is my photo not here?"""

import secrets
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from web.access import audit, requires
from web.api.coverage import of_file
from web.backend import client
from web.bodies import accepts_images
from workers.client import NotFound, Refused, Role, folders, retry_folder

blueprint = Blueprint("coverage", __name__)

_ASKED = "asked"
_KEPT = 3  # answers, in the visitor's cookie


@blueprint.get("/coverage")
@requires(Role.VIEWER)
def page() -> ResponseReturnValue:
    """Every folder with its figures, the form that asks for a photo, and what was answered."""
    asked: list[tuple[str, dict[str, Any]]] = session.get(_ASKED, [])
    answered = dict(asked).get(request.args.get("asked", ""), {})
    return render_template("coverage.html", folders=folders(client()), **answered)


@blueprint.post("/coverage")
@requires(Role.VIEWER)
@accepts_images(1)
def find() -> ResponseReturnValue:
    """Says where a photo is, or why it is nowhere, at an address of its own: one can come back to it and reload it."""
    photo = request.files.get("image")
    if photo is None or not photo.filename:
        flash("No photo was chosen.")
        return redirect(url_for("coverage.page"))
    key = secrets.token_hex(4)
    answered = {"answer": of_file(photo).to_json(), "name": photo.filename}
    session[_ASKED] = [*session.get(_ASKED, []), (key, answered)][-_KEPT:]
    return redirect(url_for("coverage.page", asked=key, _anchor="answer"))


@blueprint.post("/coverage/retry")
@requires(Role.EDITOR)
def try_again() -> ResponseReturnValue:
    """Asks the watcher of a folder to try again what it left out."""
    folder = request.form.get("folder", "")
    audit.changes("retry folder", folder=folder)
    try:
        retry_folder(client(), folder)
        flash("What was left out is tried again within a few seconds.")
    except (NotFound, Refused) as error:
        flash(f"{error.message[0].upper()}{error.message[1:]}: {error.hint}.")
    return redirect(url_for("coverage.page"))
