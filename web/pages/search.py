"""The search page. The address holds the query, `/?id=ID&k=12`: results can be linked to and gone back to."""

import time
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from web.access import requires
from web.api.schemas import MAX_K
from web.api.search import answer as search
from web.api.uploads import tidy_label
from web.backend import client, image_id
from web.bodies import accepts_images
from web.problems import RETRY_AFTER_S, status_of
from workers.client import LookalikeError, Role, Unavailable
from workers.messages import GalleryImage, SearchResult

blueprint = Blueprint("search", __name__)

COUNTS = (6, 12, 24, 48)
SAMPLES = 12


@dataclass(frozen=True)
class Options:
    """How to search, as the form has it."""

    k: int = COUNTS[1]
    label: str | None = None
    rerank: bool = False

    @classmethod
    def of(cls, fields: Any) -> "Options":
        k = fields.get("k", COUNTS[1], type=int)
        return cls(
            min(max(k, 1), MAX_K), tidy_label(fields.get("label", "")[:200]), fields.get("rerank") in ("1", "on")
        )

    def as_query(self) -> dict[str, Any]:
        """What of it differs from the defaults, as it stands in addresses."""
        k = None if self.k == COUNTS[1] else self.k
        return {"k": k, "label": self.label, "rerank": "1" if self.rerank else None}


@blueprint.get("/")
@requires(Role.VIEWER)
def page() -> ResponseReturnValue:
    """The page, with results when the address names an image."""
    options = Options.of(request.args)
    id = request.args.get("id")
    if not id:
        return _rendered(options)
    return _answered(options, lambda: _search_by_id(id, options))


@blueprint.post("/")
@requires(Role.VIEWER)
@accepts_images(1)
def page_with_image() -> ResponseReturnValue:
    """The form without JavaScript: the results of an uploaded photo, which is not kept."""
    options = Options.of(request.form)
    photo = request.files.get("image")
    if (photo is None or not photo.filename) and (id := request.form.get("id")):
        return redirect(url_for("search.page", id=id, **options.as_query()))
    if photo is None or not photo.filename:
        return _rendered(options, error={"detail": "No photo was chosen", "hint": "choose one and search again"}), 422

    def answer() -> dict[str, Any]:
        started = time.perf_counter()
        result = search(image=photo, k=options.k, label=options.label, rerank=options.rerank)
        return _facts(result, started, query_name=photo.filename)

    return _answered(options, answer)


def _search_by_id(id: str, options: Options) -> dict[str, Any]:
    started = time.perf_counter()
    query = client().image(image_id(id))
    result = client().search(id=query.id, k=options.k, label=options.label, rerank=options.rerank)
    return _facts(result, started, query_name=query.name, query=query)


def _facts(
    result: SearchResult, started: float, *, query_name: str | None, query: GalleryImage | None = None
) -> dict[str, Any]:
    took_ms = 1000 * (time.perf_counter() - started)
    return {"result": result, "took_ms": took_ms, "query_name": query_name, "query": query}


def _answered(options: Options, answer: Any) -> ResponseReturnValue:
    """The page with the answer, or with what went wrong in its place: the form stays at hand either way."""
    try:
        return _rendered(options, **answer())
    except LookalikeError as error:
        status, title = status_of(error)
        page = _rendered(options, error={"title": title, "detail": error.message, "hint": error.hint})
        return page, status, {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else {}


def _rendered(options: Options, **shown: Any) -> str:
    samples, gallery_problem = ([], None) if shown.get("result") else _samples()
    return render_template(
        "search.html",
        options=options,
        counts=COUNTS,
        link_options=options.as_query(),
        samples=samples,
        gallery_problem=gallery_problem,
        **shown,
    )


def _samples() -> tuple[list[GalleryImage], LookalikeError | None]:
    """Some images to start from. Ids are hashes, so the first ones are a fair draw from the whole gallery."""
    status = client().status()
    if not status.workers:  # Asking would wait for one that may be starting; a page should not.
        return [], Unavailable(next(iter(status.problems), "no worker is running"), hint="then load this page again")
    try:
        return client().images(limit=SAMPLES)[0], None
    except LookalikeError as error:
        return [], error
