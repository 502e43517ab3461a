"""The search page. The address holds the query, `/?id=ID&k=12`: results can be linked to and gone back to."""

import time
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from web.access import requires
from web.access.headers import SEARCH_POLICY
from web.api.schemas import MAX_K, numbers_of_box
from web.api.search import answer as search
from web.api.uploads import tidy_label
from web.backend import client, image_id
from web.bodies import accepts_images
from web.problems import RETRY_AFTER_S, status_of
from workers.client import MOST_EXAMPLES, BadBox, LookalikeError, Role, Unavailable
from workers.messages import AVERAGE, BEST, GalleryImage, SearchResult

blueprint = Blueprint("search", __name__)

COUNTS = (6, 12, 24, 48)
SAMPLES = 12


@dataclass(frozen=True)
class Options:
    """How to search, as the form has it."""

    k: int = COUNTS[1]
    label: str | None = None
    rerank: bool = False
    strategy: str = AVERAGE

    @classmethod
    def of(cls, fields: Any) -> "Options":
        k = min(max(fields.get("k", COUNTS[1], type=int), 1), MAX_K)
        strategy = BEST if fields.get("strategy") == BEST else AVERAGE
        return cls(k, tidy_label(fields.get("label", "")[:200]), fields.get("rerank") in ("1", "on"), strategy)

    def as_query(self) -> dict[str, Any]:
        """What of it differs from the defaults, as it stands in addresses."""
        k = None if self.k == COUNTS[1] else self.k
        strategy = None if self.strategy == AVERAGE else self.strategy
        return {"k": k, "label": self.label, "rerank": "1" if self.rerank else None, "strategy": strategy}


@dataclass(frozen=True)
class Example:
    """A further image of a query: kind is more or unlike."""

    image: GalleryImage
    kind: str


@blueprint.after_request
def fetch_dropped_photos(response: Response) -> Response:
    """Lets the page fetch a photo that was dropped from another site."""
    response.headers["Content-Security-Policy"] = SEARCH_POLICY
    return response


@blueprint.get("/")
@requires(Role.VIEWER)
def page() -> ResponseReturnValue:
    """The page, with results when the address names an image."""
    options = Options.of(request.args)
    if not request.args.get("id"):
        return _rendered(options)
    return _answered(options, lambda: _search_by_id(request.args, options))


@blueprint.post("/")
@requires(Role.VIEWER)
@accepts_images(1)
def page_with_image() -> ResponseReturnValue:
    """The form without JavaScript: the results of an uploaded photo, which is not kept."""
    options = Options.of(request.form)
    photo = request.files.get("image")
    if (photo is None or not photo.filename) and (id := request.form.get("id")):
        return redirect(url_for("search.page", id=id, box=request.form.get("box"), **options.as_query()))
    if photo is None or not photo.filename:
        return _rendered(options, error={"detail": "No photo was chosen", "hint": "choose one and search again"}), 422

    def answer() -> dict[str, Any]:
        started = time.perf_counter()
        result = search(image=photo, k=options.k, label=options.label, rerank=options.rerank)
        return _facts(result, started, query_name=photo.filename)

    return _answered(options, answer)


def _search_by_id(asked: Any, options: Options) -> dict[str, Any]:
    started = time.perf_counter()
    query = client().image(image_id(asked["id"]))
    box = _box(asked.get("box", ""))
    examples = [
        Example(client().image(image_id(id)), kind)
        for kind in ("more", "unlike")
        for id in asked.getlist(kind)[: MOST_EXAMPLES - 1]
    ]
    result = search(
        id=query.id,
        box=box,
        more_id=[each.image.id for each in examples if each.kind == "more"],
        unlike_id=[each.image.id for each in examples if each.kind == "unlike"],
        k=options.k,
        label=options.label,
        rerank=options.rerank and not examples,
        strategy=options.strategy,
    )
    return _facts(result, started, query_name=query.name) | {"query": query, "box": box, "examples": examples}


def _box(text: str) -> list[float] | None:
    """What an address says of the part that is meant. Raises BadBox."""
    try:
        return numbers_of_box(text)
    except ValueError as error:
        raise BadBox(f"a box must be four numbers, got {text[:40]}", hint="draw one again") from error


def _facts(result: SearchResult, started: float, *, query_name: str | None) -> dict[str, Any]:
    return {"result": result, "took_ms": 1000 * (time.perf_counter() - started), "query_name": query_name}


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
