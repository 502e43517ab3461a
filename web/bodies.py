"""How much a request may send, said per route, and what of JSON is no JSON that we read.

A route that says nothing takes 64 kB: more than any form of ours and any JSON of the API has. The limit holds before
the first byte of the body is read, so that nobody fills memory or disk with what is refused afterwards.
"""

import json
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from flask import Flask, current_app, request
from werkzeug.exceptions import LengthRequired, UnprocessableEntity, UnsupportedMediaType

View = TypeVar("View", bound=Callable[..., Any])

SMALL = 64 * 1024
SIGN_IN = 4 * 1024
MANY_IDS = 512 * 1024  # 10,000 of them as JSON
MANY_IMAGES = 8  # of the largest accepted size; more of smaller ones


def body_limit(size: int) -> Callable[[View], View]:
    """Marks a view that takes at most so many bytes."""

    def mark(view: View) -> View:
        view.body_limit = size  # type: ignore[attr-defined]
        return view

    return mark


def accepts_images(count: int) -> Callable[[View], View]:
    """Marks a view that takes images, so many of the largest accepted size, as multipart form data."""

    def mark(view: View) -> View:
        view.images_in_body = count  # type: ignore[attr-defined]
        return view

    return mark


def reads_json_too(view: View) -> View:
    """Marks a view of the API that reads JSON besides the kind of body that its input states."""
    view.reads_json_too = True  # type: ignore[attr-defined]
    return view


def init_app(app: Flask) -> None:
    """Limits every request. Must come before whatever reads bodies."""
    app.config.update(MAX_CONTENT_LENGTH=SMALL, MAX_FORM_PARTS=1_000, MAX_FORM_MEMORY_SIZE=256 * 1024)

    @app.before_request
    def limit() -> None:
        # Werkzeug cuts a body of unknown length at the limit and calls that the whole. Servers that read requests to
        # their end before they pass them on, as ours does, tell us the length of these, too.
        if request.content_length is None and "Transfer-Encoding" in request.headers:
            raise LengthRequired("the request tells no Content-Length")
        request.max_content_length = limit_of(app.view_functions.get(request.endpoint or ""), request.mimetype)


def limit_of(view: Callable[..., Any] | None, mimetype: str) -> int:
    """Bytes that a view takes in a body of this type."""
    images: int = getattr(view, "images_in_body", 0)
    if images and mimetype == "multipart/form-data":
        # Beyond 500 kB each, images lie in temporary files while the request lasts, not in memory.
        largest: int = current_app.config["MAX_IMAGE_BYTES"]
        return images * largest + 2**20
    size: int = getattr(view, "body_limit", SMALL)
    return size


def check_api_body() -> None:
    """Refuses bodies that the view would not see, and JSON that would overtax whoever reads it after us.

    What claims to be JSON and is none is left to its reader: 400.

    Raises:
        UnsupportedMediaType: the view reads another kind of body; to it, all that was sent would look left out.
        UnprocessableEntity: the JSON is nested too deep, or holds a number or a text that is none for us.
    """
    kinds = _kinds_of_body()
    if not kinds or not request.content_length:
        return
    if request.mimetype not in kinds:
        raise UnsupportedMediaType(f"this route reads {' or '.join(kinds)}")
    if not request.is_json:
        return
    try:
        value = json.loads(request.get_data(cache=True), parse_constant=_refuse_constant)
        json.dumps(value, ensure_ascii=False).encode()
    except (json.JSONDecodeError, UnicodeDecodeError):
        return
    except UnicodeEncodeError:
        raise UnprocessableEntity("a text of the JSON holds half of a surrogate pair") from None
    except RecursionError:
        raise UnprocessableEntity("the JSON is nested too deep") from None
    except ValueError:  # Python reads no integer of more than 4,300 digits: that takes quadratic time
        raise UnprocessableEntity("the JSON holds a number of too many digits") from None


def _kinds_of_body() -> list[str]:
    """What the view's `input` says that it reads; empty for one without a body."""
    view = current_app.view_functions.get(request.endpoint or "")
    stated: str | None = getattr(view, "_spec", {}).get("content_type")
    also = ["application/json"] if getattr(view, "reads_json_too", False) else []
    return [stated, *also] if stated else []


def _refuse_constant(name: str) -> NoReturn:
    raise UnprocessableEntity(f"the JSON holds {name}, which is no number of JSON")
