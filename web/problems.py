"""Every error, told once: as problem+json (RFC 9457) to programs, as a page to people.

The errors themselves are raised where the fact is known; this table only says which HTTP status each one is.
"""

import logging
from typing import Any

from apiflask import HTTPError
from flask import Flask, Response, current_app, json, render_template, request
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge, SecurityError
from werkzeug.http import HTTP_STATUS_CODES

from web.access import resume
from web.access.principals import current_principal
from web.backend import client
from workers.client import (
    BadBox,
    Busy,
    Damaged,
    EngineAway,
    LookalikeError,
    NotFound,
    Overloaded,
    Refused,
    StorageFailed,
    Unavailable,
    UnknownModel,
    UnreadableImage,
)

log = logging.getLogger(__name__)

MIMETYPE = "application/problem+json"

_TITLES: dict[type[LookalikeError], tuple[int, str]] = {
    UnreadableImage: (422, "Unreadable image"),
    BadBox: (422, "Bad box"),
    NotFound: (404, "Not found"),
    UnknownModel: (404, "Not found"),
    Damaged: (410, "Damaged"),
    Busy: (409, "Busy"),
    Refused: (409, "Not possible now"),
    Unavailable: (503, "Temporarily unavailable"),
    StorageFailed: (503, "The storage refuses"),
}
_HINTS = {
    401: "one of the values of LOOKALIKE_API_TOKENS",
    404: "check the address",
    405: "see /api/v1/openapi.json for what each route takes",
    500: "the portal's log has the details",
}
RETRY_AFTER_S = 5


def problem(status: int, detail: str, *, title: str = "", hint: str = "", **more: Any) -> Response:
    """An error as RFC 9457 has it, with a `hint` that says what to do next and members of its own in `more`."""
    body = {
        "type": "about:blank",
        "title": title or HTTP_STATUS_CODES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "hint": hint or _HINTS.get(status, ""),
        **more,
    }
    return Response(json.dumps(body), status, mimetype=MIMETYPE)


def status_of(error: LookalikeError) -> tuple[int, str]:
    """HTTP status and title of an error."""
    for kind in type(error).__mro__:
        if kind in _TITLES:
            return _TITLES[kind]
    return 500, "The request failed"


def init_app(app: Flask) -> None:
    """Registers the handlers. They see errors of pages and API alike, and those that no route is behind."""
    app.register_error_handler(LookalikeError, _known)
    app.register_error_handler(HTTPError, _invalid)  # APIFlask's own, no HTTPException
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unexpected)


def _known(error: LookalikeError) -> Response:
    status, title = status_of(error)
    response = _answer(status, error.message, title=title, hint=error.hint, safe=photos_are_safe(error))
    if status == 503:
        response.headers["Retry-After"] = str(getattr(error, "retry_after_s", RETRY_AFTER_S))
    return response


def _invalid(error: HTTPError) -> Response:
    """What APIFlask finds wrong with a request's fields."""
    fields = [
        {"field": ".".join(str(part) for part in path), "reason": reason} for path, reason in _reasons(error.detail)
    ]
    detail = "; ".join(f"{each['field']}: {each['reason']}" for each in fields) or error.message or ""
    return _answer(error.status_code, detail, hint="see /api/v1/openapi.json for what this route takes", errors=fields)


def _reasons(detail: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], str]]:
    """Marshmallow's nested messages, flat. The first level names the part of the request and is left out."""
    if isinstance(detail, dict):
        return [found for key, value in detail.items() for found in _reasons(value, (*path, key))]
    messages = detail if isinstance(detail, list) else [detail]
    return [(path[1:] or path, str(message).rstrip(".")) for message in messages]


def _http(error: HTTPException) -> Response:
    if error.response is not None:
        return error.response  # type: ignore[return-value]
    status = error.code or 500
    detail, hint, title = (error.description or "").rstrip("."), "", ""
    if isinstance(error, RequestEntityTooLarge):
        is_ours = error.description != RequestEntityTooLarge.description
        detail = detail if is_ours else "the request is larger than this route accepts"
        hint = too_large_hint()
    elif isinstance(error, SecurityError):
        detail = "this portal answers to the names of this machine alone: localhost and 127.0.0.1"
        hint = "to open it to others, set LOOKALIKE_API_TOKENS"
    elif isinstance(error, CSRFError):
        if resume.is_form() and current_principal():  # signed in again in another tab, say
            typed = resume.typed_in(request)
            if not typed.has_files:
                return Response(resume.offer(typed), status, mimetype="text/html")
        detail, hint = "this form was out of date", "load the page again and repeat what you did"
    elif status == 400 and request.is_json:
        detail, hint = "the request's body is no valid JSON", _HINTS[405]
    elif status == 404:
        detail = "there is nothing at this address"
    response = _answer(status, detail, title=title, hint=hint)
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def too_large_hint() -> str:
    """What to do about a 413."""
    limit = request.max_content_length or 0
    if limit < current_app.config["MAX_IMAGE_BYTES"]:
        return f"its body may have {limit // 1024} kB"
    megabytes = current_app.config["MAX_IMAGE_BYTES"] // 2**20
    return f"an image may have {megabytes} MB; send fewer or smaller images at once"


def _unexpected(error: Exception) -> Response:
    log.exception("%s %s failed", request.method, request.path, exc_info=error)
    return _answer(500, "the portal could not do this, for a reason that it did not expect")


def _answer(status: int, detail: str, *, title: str = "", hint: str = "", safe: str = "", **more: Any) -> Response:
    answer = problem(status, detail, title=title, hint=hint, **more | ({"safe": safe} if safe else {}))
    has_no_name = isinstance(request.routing_exception, SecurityError)  # of ours, so a page could not link to anything
    if has_no_name or request.path.startswith(("/api/", "/health/")):
        return answer
    body = json.loads(answer.get_data())
    if status != 503:
        return Response(render_template("error.html", problem=body), status, mimetype="text/html")
    if resume.is_form() and current_principal():
        typed = resume.typed_in(request)
        told = f"{safe} Nothing was changed. Here is what you had typed.".strip()
        page = resume.offer(typed, told=told, reason="" if detail.lower() in safe.lower() else detail)
    else:
        page = render_template("error.html", problem=body, safe=safe)
    return Response(page, status, mimetype="text/html")


def photos_are_safe(error: LookalikeError) -> str:
    """What a person wants to know first while a part of the system is away; empty where it is all there, or busy."""
    if status_of(error)[0] != 503 or isinstance(error, Overloaded):
        return ""
    if isinstance(error, EngineAway):
        return f"{error.message[0].upper()}{error.message[1:]}."
    count = client().photos_known()
    photos = f"your {count:,} photos are safe" if count and count > 1 else "your photos are safe"
    return f"The search engine is restarting; {photos}."
