"""/images: the gallery. Originals are stored before the answer is given; they become searchable by a job."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

from apiflask import APIBlueprint
from apiflask.schemas import FileSchema
from flask import Response, current_app, request, send_file

from web.access import audit, requires
from web.api import uploads
from web.api.changes import made, made_later
from web.api.downloads import MEDIA_TYPES, download_name, media_type
from web.api.schemas.changes import LabelChange
from web.api.schemas.images import Image, ImagePage, ImageQuery
from web.api.schemas.uploads import Upload, UploadForm
from web.backend import client, image_id
from web.bodies import MANY_IMAGES, accepts_images
from web.problems import problem, too_large_hint
from workers.client import Role
from workers.messages import Selection

blueprint = APIBlueprint("images", __name__)

FOR_EVER = "private, max-age=31536000, immutable"  # An id names its bytes, so what it shows never changes.


_BINARY = {"type": "string", "format": "binary"}
_BYTES = FileSchema(**_BINARY)
_ORIGINAL_ANSWERS: Any = {
    200: {"description": "By its format", "content": {media_type: {"schema": _BINARY} for media_type in MEDIA_TYPES}}
}
_UPLOAD_ANSWERS: Any = {
    202: {
        "description": "Stored; the job that makes them searchable goes on",
        "content": {"application/json": {"schema": Upload}},
    },
    413: {"description": "The only file, or the whole request, is too large"},
}


@blueprint.post("/images")
@requires(Role.EDITOR)
@accepts_images(MANY_IMAGES)
@blueprint.input(UploadForm, location="files", arg_name="form")
@blueprint.output(Upload, status_code=201, description="Stored and searchable, except for the files that say otherwise")
@blueprint.doc(
    tags=["Gallery"],
    responses=_UPLOAD_ANSWERS,
)
def add_images(form: dict[str, Any]) -> Any:
    """Keep photos

    Stores the photos and waits for up to `wait_s` seconds until they are searchable. A file that is no image is
    refused without harm to the others; when all are refused the answer is 422 and names each with its reason.

    `curl -F images=@a.jpg -F images=@b.jpg -F label=mug http://127.0.0.1:8000/api/v1/images`
    """
    audit.changes("add", label=form["label"])
    upload = uploads.keep(
        client(),
        form["images"],
        form["label"],
        max_bytes=current_app.config["MAX_IMAGE_BYTES"],
        by_person=form["label_from"] == "person",
    )
    if upload.job is None:
        return _all_refused(upload)
    status = uploads.wait(client(), upload, form["wait_s"])
    if upload.is_all_refused:
        return _all_refused(upload)
    return upload.to_json(status.state), 201 if status.is_finished else 202


def _all_refused(upload: uploads.Upload) -> Response:
    errors = [{"file": each.file, "reason": each.reason or ""} for each in upload.files]
    detail = "; ".join(f"{each['file']} {each['reason']}" for each in errors[:5])
    if len(errors) > 5:
        detail += f"; and {len(errors) - 5} more"
    is_too_large = len(errors) == 1 and upload.files[0].is_too_large
    return problem(
        413 if is_too_large else 422,
        detail,
        title="Unreadable image" if len(errors) == 1 else "Unreadable images",
        hint=too_large_hint() if is_too_large else upload.hint or "choose other files",
        errors=errors,
    )


@blueprint.get("/images")
@requires(Role.VIEWER)
@blueprint.input(ImageQuery, location="query", arg_name="asked")
@blueprint.output(ImagePage)
@blueprint.doc(tags=["Gallery"])
def list_images(asked: dict[str, Any]) -> Any:
    """List the gallery's images, the newest first

    Those that all of what is asked is true of. In pages: give the `next` of one answer as `after` of the next request.
    """
    after, limit = asked.pop("after"), asked.pop("limit")
    selection = Selection(**asked | {"label": uploads.tidy_label(asked["label"])})
    return client().page(selection, after, limit).to_json()


@blueprint.get("/images/<id>")
@requires(Role.VIEWER)
@blueprint.output(Image)
@blueprint.doc(tags=["Gallery"])
def get_image(id: str) -> Any:
    """Show what is known of an image"""
    return client().image(image_id(id)).to_json()


@blueprint.get("/images/<id>/thumbnail")
@requires(Role.VIEWER)
@blueprint.output(_BYTES, content_type="image/jpeg", description="At most 256 px")
@blueprint.doc(tags=["Gallery"])
def get_thumbnail(id: str) -> Any:
    """Show a small copy of an image

    Re-encoded as JPEG, upright, without metadata.
    """
    return _jpeg(image_id(id), client().thumbnail)


@blueprint.get("/images/<id>/view")
@requires(Role.VIEWER)
@blueprint.output(_BYTES, content_type="image/jpeg", description="At most 1,600 px")
@blueprint.doc(tags=["Gallery"])
def get_view(id: str) -> Any:
    """Show a large copy of an image

    Re-encoded as JPEG, upright, in sRGB, without metadata. A worker makes it when it is first asked for.
    """
    return _jpeg(image_id(id), client().view)


def _jpeg(id: str, copy_of: Callable[[str], bytes]) -> Response:
    """A copy of an image, or 304 for a browser that has it: it never changes."""
    response = Response(status=304) if id in request.if_none_match else Response(copy_of(id), mimetype="image/jpeg")
    response.set_etag(id)
    response.headers["Cache-Control"] = FOR_EVER
    return response


@blueprint.get("/images/<id>/original")
@requires(Role.VIEWER)
@blueprint.output(_BYTES, content_type="application/octet-stream")
@blueprint.doc(tags=["Gallery"], responses=_ORIGINAL_ANSWERS)
def get_original(id: str) -> Any:
    """Download an image as it was added

    Every byte of it, metadata such as the place it was taken at included.
    """
    image = client().image(image_id(id))
    response = send_file(
        BytesIO(client().original(image.id)),
        mimetype=media_type(image.format),
        as_attachment=True,
        download_name=download_name(image.name, image.format, image.id),
    )
    response.set_etag(image.id)
    response.headers["Cache-Control"] = FOR_EVER
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    return response


@blueprint.patch("/images/<id>")
@requires(Role.EDITOR)
@blueprint.input(LabelChange, arg_name="change", example={"label": "sunrise-mug"})
@blueprint.output(Image, description="Searches see the change")
@blueprint.doc(tags=["Gallery"], responses=made_later(Image))
def update_image(id: str, change: dict[str, Any]) -> Any:
    """Change an image's label"""
    id = client().image(image_id(id)).id
    audit.changes("label", [id], label=change["label"])
    done = client().label([id], uploads.tidy_label(change["label"]))
    return client().image(id).to_json(), made(done.is_followed)


@blueprint.delete("/images/<id>")
@requires(Role.EDITOR)
@blueprint.output({}, status_code=204, description="It is in the trash, and no search finds it")
@blueprint.doc(tags=["Gallery"], responses={202: "It is in the trash; searches follow when the search engine is back"})
def delete_image(id: str) -> Any:
    """Move an image to the trash

    It can be restored for as many days as LOOKALIKE_TRASH_DAYS says.
    """
    id = client().image(image_id(id)).id
    audit.changes("delete", [id])
    done = client().delete([id])
    return Response(status=204 if done.is_followed else 202)
