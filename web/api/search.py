"""POST /search: the images that look most like a photo, or like an image of the gallery."""

from typing import Any

from apiflask import APIBlueprint
from apiflask.schema_adapters.marshmallow import parser
from flask import Response, current_app, jsonify, request
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge

from web.access import requires
from web.api.schemas import SearchById, SearchByImage, SearchResult
from web.api.uploads import tidy_label
from web.backend import client, image_id
from web.bodies import accepts_images
from workers.client import Role, UnreadableImage
from workers.messages import SearchResult as SearchAnswer

blueprint = APIBlueprint("search", __name__)


@blueprint.post("/search")
@requires(Role.VIEWER)
@accepts_images(1)
@blueprint.input(SearchByImage, location="files", arg_name="_documented", validation=False)
@blueprint.output(SearchResult, description="The most similar images, best first")
@blueprint.doc(
    tags=["Search"], responses={404: "The image to search with is not in the gallery", 413: "Photo too large"}
)
def search(_documented: Any) -> Any:
    """Search by example

    Send either a photo, as multipart form data with the part `image`, or JSON with the `id` of a photo of the
    gallery. A photo is searched with and not kept.

    `curl -F image=@photo.jpg -F k=6 http://127.0.0.1:8000/api/v1/search`
    """
    if request.is_json:
        asked = parser.parse(SearchById(), request, location="json")
        asked["label"] = tidy_label(asked["label"])
        result = client().search(id=image_id(asked.pop("id")), **asked)
    else:
        asked = parser.parse(SearchByImage(), request, location="files")
        asked["label"] = tidy_label(asked["label"])
        result = with_image(asked.pop("image"), **asked)
    response: Response = jsonify(result.to_json())
    response.headers["Server-Timing"] = ", ".join(f"{stage};dur={ms:.1f}" for stage, ms in result.timings_ms.items())
    return response


def with_image(photo: FileStorage, *, k: int, label: str | None, rerank: bool) -> SearchAnswer:
    """Searches with an uploaded photo.

    Raises:
        UnreadableImage: it is no image that we accept; the message begins with its name.
        RequestEntityTooLarge: it has more bytes than an image may have.
        Unavailable: no worker answers.
    """
    name = photo.filename or "the photo"
    limit = current_app.config["MAX_IMAGE_BYTES"]
    data = photo.stream.read(limit + 1)
    if len(data) > limit:
        raise RequestEntityTooLarge(f"{name} is larger than {limit // 2**20} MB")
    try:
        return client().search(data, k=k, label=label, rerank=rerank)
    except UnreadableImage as error:
        raise UnreadableImage(f"{name} {error.message}", hint=error.hint or "choose another photo") from error
