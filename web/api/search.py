"""POST /search: the images that look most like a photo, an image of the gallery, or several of them."""

from collections.abc import Iterable, Sequence
from typing import Any

from apiflask import APIBlueprint
from apiflask.schema_adapters.marshmallow import parser
from flask import Response, current_app, jsonify, request
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge, UnprocessableEntity

from web.access import requires
from web.api.schemas.search import SearchById, SearchByImage, SearchResult
from web.api.uploads import tidy_label
from web.backend import client, image_id
from web.bodies import accepts_images, reads_json_too
from workers.client import MOST_EXAMPLES, Role, UnreadableImage
from workers.messages import SearchResult as SearchAnswer

blueprint = APIBlueprint("search", __name__)

PHOTOS = 4  # of the largest accepted size; more of smaller ones
_BY_ID, _BY_IMAGE = SearchById(), SearchByImage()  # each copies all of its fields when it is made


@blueprint.post("/search")
@requires(Role.VIEWER)
@accepts_images(PHOTOS)
@reads_json_too
@blueprint.input(SearchByImage, location="files", arg_name="_documented", validation=False)
@blueprint.output(SearchResult, description="The most similar images, best first")
@blueprint.doc(
    tags=["Search"], responses={404: "The image to search with is not in the gallery", 413: "Photo too large"}
)
def search(_documented: Any) -> Any:
    """Search by example

    Send either a photo, as multipart form data with the part `image`, or JSON with the `id` of a photo of the
    gallery. A photo is searched with and not kept. `box` searches with a part of it. `more` and `unlike` are further
    photos, to find what several have in common and to leave out what is not meant; each can be sent several times.

    `curl -F image=@photo.jpg -F k=6 http://127.0.0.1:8000/api/v1/search`

    `curl -F image=@mug.jpg -F box=0.2,0.1,0.5,0.6 -F more=@other.jpg -F unlike=@jug.jpg http://127.0.0.1:8000/api/v1/search`
    """
    if request.is_json:
        asked = parser.parse(_BY_ID, request, location="json")
        examples = {"more_id": asked.pop("more"), "unlike_id": asked.pop("unlike")}
        asked |= examples
    else:
        asked = parser.parse(_BY_IMAGE, request, location="files")
    result = answer(**asked | {"label": tidy_label(asked["label"])})
    response: Response = jsonify(result.to_json())
    response.headers["Server-Timing"] = ", ".join(f"{stage};dur={ms:.1f}" for stage, ms in result.timings_ms.items())
    return response


def answer(
    *,
    image: FileStorage | None = None,
    id: str | None = None,
    more: Iterable[FileStorage] = (),
    more_id: Iterable[str] = (),
    unlike: Iterable[FileStorage] = (),
    unlike_id: Iterable[str] = (),
    **options: Any,
) -> SearchAnswer:
    """Searches with uploaded photos and images of the gallery.

    Args:
        image: the query photo; or
        id: of an image of the gallery.
        more: further photos that are looked for.
        more_id: further images.
        unlike: photos that are not looked for.
        unlike_id: images.
        options: k, label, rerank, box and strategy as Client.search takes them.

    Raises:
        UnreadableImage: a photo is none that we accept; the message begins with its name.
        RequestEntityTooLarge: a photo has more bytes than an image may have.
        UnprocessableEntity: there are too many photos, or several that are to be re-ranked.
        Unavailable: no worker answers.
    """
    more, unlike = list(more), list(unlike)
    liked: list[bytes | str] = [*map(_bytes_of, more), *map(image_id, more_id)]
    unliked: list[bytes | str] = [*map(_bytes_of, unlike), *map(image_id, unlike_id)]
    if 1 + len(liked) + len(unliked) > MOST_EXAMPLES:
        raise UnprocessableEntity(f"a search takes at most {MOST_EXAMPLES} photos")
    if (liked or unliked) and options.get("rerank"):
        raise UnprocessableEntity("re-ranking works with one photo: leave rerank out")
    first = {"id": image_id(id or "")} if image is None else {"image": _bytes_of(image)}
    try:
        return client().search(**first, more=liked, unlike=unliked, **options)
    except UnreadableImage as error:
        name = _name([photo for photo in (image, *more, *unlike) if photo is not None])
        raise UnreadableImage(f"{name} {error.message}", hint=error.hint or "choose another photo") from error


def _name(photos: Sequence[FileStorage]) -> str:
    """What an error is about: with several photos the workers do not say which it is."""
    if len(photos) > 1:
        return "one of the photos"
    return photos[0].filename or "the photo" if photos else "the photo"


def _bytes_of(photo: FileStorage) -> bytes:
    limit = current_app.config["MAX_IMAGE_BYTES"]
    data = photo.stream.read(limit + 1)
    if len(data) > limit:
        raise RequestEntityTooLarge(f"{photo.filename or 'the photo'} is larger than {limit // 2**20} MB")
    return data
