"""What was found in each indexed folder, and the answer to: why is my photo not here?"""

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from web.access import audit, requires
from web.api.coverage import of_file
from web.backend import client
from web.bodies import accepts_images
from workers.client import NotFound, Refused, Role, folders, retry_folder

blueprint = Blueprint("coverage", __name__)


@blueprint.get("/coverage")
@requires(Role.VIEWER)
def page() -> ResponseReturnValue:
    """Every folder with its figures, and the form that asks for a photo."""
    return _rendered()


@blueprint.post("/coverage")
@requires(Role.VIEWER)
@accepts_images(1)
def find() -> ResponseReturnValue:
    """Says where a photo is, or why it is nowhere."""
    photo = request.files.get("image")
    if photo is None or not photo.filename:
        flash("No photo was chosen.")
        return redirect(url_for("coverage.page"))
    return _rendered(answer=of_file(photo), name=photo.filename)


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


def _rendered(**answer: object) -> str:
    return render_template("coverage.html", folders=folders(client()), **answer)
