"""/coverage and /whereabouts: what was found in indexed folders, and why a photo is not in the gallery."""

from typing import Any

from apiflask import APIBlueprint
from flask import current_app
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge

from web.access import audit, requires
from web.api.schemas.coverage import Folder, FolderCoverages, Whereabouts, WhereaboutsForm
from web.backend import client
from web.bodies import accepts_images
from workers import messages
from workers.client import Role, folders, retry_folder, whereabouts

blueprint = APIBlueprint("coverage", __name__)


@blueprint.get("/coverage")
@requires(Role.VIEWER)
@blueprint.output(FolderCoverages)
@blueprint.doc(tags=["Gallery"])
def list_coverage() -> Any:
    """List indexed folders, with what was found in each

    Every file is indexed, failed, waiting or skipped; those that are not indexed are named, each with its reason.
    """
    return {"folders": [folder.to_json() for folder in folders(client())]}


@blueprint.post("/coverage/retry")
@requires(Role.EDITOR)
@blueprint.input(Folder, arg_name="asked")
@blueprint.output({}, 202, description="Its watcher has been asked")
@blueprint.doc(tags=["Gallery"])
def retry_coverage(asked: dict[str, Any]) -> Any:
    """Try again what was left out of a watched folder"""
    audit.changes("retry folder", folder=asked["folder"])
    retry_folder(client(), asked["folder"])
    return {}


@blueprint.post("/whereabouts")
@requires(Role.VIEWER)
@accepts_images(1)
@blueprint.input(WhereaboutsForm, location="files", arg_name="files")
@blueprint.output(Whereabouts)
@blueprint.doc(tags=["Gallery"])
def find_photo(files: dict[str, Any]) -> Any:
    """Tell where a photo is, or why it is not in the gallery

    It is not kept. Its content is what is looked for; its name, too, among files that were left out.
    """
    return of_file(files["image"]).to_json()


def of_file(image: FileStorage) -> messages.Whereabouts:
    """Where the photo of a form is. Pages and API share it. Raises RequestEntityTooLarge."""
    max_bytes: int = current_app.config["MAX_IMAGE_BYTES"]
    data = image.stream.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise RequestEntityTooLarge(f"the photo is larger than {max_bytes // 2**20} MB, so it was left out")
    return whereabouts(client(), data, image.filename or "")
