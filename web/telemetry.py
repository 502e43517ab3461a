"""One id, one log line and one measurement for each request.

The id comes from a proxy's X-Request-ID or is made here; it goes back in the answer, and through the queue to the
worker, so that the lines of one request can be found in all logs.
"""

import contextlib
import logging
import re
import time

from flask import Flask, Response, g, request

from web.access.principals import current_principal
from workers.client import logged_as, observe_request

log = logging.getLogger(__name__)

# What a client sends as a method is its own invention, and each label makes series that stay.
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

_ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")


def init_app(app: Flask) -> None:
    """Must come before everything else that looks at requests, so that refused ones are seen too."""
    app.before_request(_begin)
    app.after_request(_note)
    app.teardown_request(_end)


def _begin() -> None:
    given = request.headers.get("X-Request-ID", "")
    g.telemetry = contextlib.ExitStack()
    g.request_id = g.telemetry.enter_context(logged_as(given if _ACCEPTABLE_ID.fullmatch(given) else None))
    g.began = time.perf_counter()


def _note(response: Response) -> Response:
    if "began" not in g:  # refused before routing: a host that we do not answer to
        return response
    seconds = time.perf_counter() - g.began
    route = request.url_rule.rule if request.url_rule else "none"
    method = request.method if request.method in _METHODS else "other"
    observe_request(route, method, response.status_code, seconds)
    response.headers["X-Request-ID"] = g.request_id
    level = logging.DEBUG if request.endpoint == "static" or route.startswith("/health/") else logging.INFO
    # The path only: what people search for is theirs.
    principal = current_principal()
    by = f" by {principal.name}" if principal else ""
    log.log(level, "%s %s %d in %.0f ms%s", request.method, request.path, response.status_code, 1000 * seconds, by)
    return response


def _end(_error: BaseException | None) -> None:
    if "telemetry" in g:
        g.telemetry.close()
