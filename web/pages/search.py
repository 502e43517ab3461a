"""The search page. The address holds the query, `/?id=ID&k=12`: results can be linked to and gone back to."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from web.access import requires
from web.access.headers import SEARCH_POLICY
from web.api.schemas.search import MAX_K, numbers_of_box
from web.api.search import answer as search
from web.api.uploads import tidy_label
from web.backend import client, image_id
from web.bodies import accepts_images
from web.pages.words import left_out
from web.problems import RETRY_AFTER_S, photos_are_safe, status_of
from workers.client import MOST_EXAMPLES, BadBox, LookalikeError, NotFound, Role
from workers.messages import AVERAGE, BEST, GalleryImage, Result, SearchResult, Skipped

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
    """An image of a query: kind is id for the query itself, more or unlike for a further one."""

    image: GalleryImage
    kind: str


@blueprint.after_request
def fetch_dropped_photos(response: Response) -> Response:
    """Lets the page fetch a photo that was dropped from another site."""
    response.headers["Content-Security-Policy"] = SEARCH_POLICY
    return response


@dataclass(frozen=True)
class Shown:
    """An answer as the page divides it.

    Args:
        own: the query's id, where it is in the gallery: it is no answer to itself.
        same: what is the same thing by its verdict; None where nothing is claimed, and `others` are all.
        others: what is not, or is not known to be.
    """

    own: str | None
    same: Sequence[Result] | None
    others: Sequence[Result]

    @classmethod
    def of(cls, result: SearchResult, own: str | None, k: int) -> "Shown":
        """`own`: what the query's id is or would be; None for a part of a photo, or several."""
        results = [each for each in result.results if each.id != own]
        found = own if len(results) < len(result.results) else None
        if result.matches is None:
            return cls(found, None, results[:k])
        parts: dict[bool, list[Result]] = {True: [], False: []}
        for each in results[:k]:
            parts[each.verdict == "same"].append(each)
        return cls(found, parts[True], parts[False])

    @property
    def count(self) -> int:
        return len(self.same or ()) + len(self.others)

    @property
    def title(self) -> str:
        """As `heading` in web/static/js/search.js has it."""
        if not self.count:
            return "Nothing to compare with"
        if self.same is None:
            return f"{self.count} most similar"
        if not self.same:
            return "Nothing else in your gallery matches" if self.own else "Nothing in your gallery matches"
        return f"{len(self.same)} {'match' if len(self.same) == 1 else 'matches'} of {self.count} most similar"


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
        result = search(image=photo, k=options.k + 1, label=options.label, rerank=options.rerank)
        photo.stream.seek(0)
        own = hashlib.sha256(photo.stream.read()).hexdigest()[:32]  # what its id in the gallery would be
        return _facts(result, started, query_name=photo.filename, shown=Shown.of(result, own, options.k))

    return _answered(options, answer)


def _search_by_id(asked: Any, options: Options) -> dict[str, Any]:
    started = time.perf_counter()
    examples, skipped = _examples(asked)
    box = _box(asked.get("box", ""))
    first = next((each for each in examples if each.kind == "id"), None)
    if first is None:  # the box was drawn on a photo that is gone
        first, box = next((each for each in examples if each.kind == "more"), None), None
    if first is None:
        client().image(image_id(asked["id"]))
        raise NotFound("the photo to search with is not in the gallery any more", hint="choose another one")
    query = first.image
    examples.remove(first)
    result = search(
        id=query.id,
        box=box,
        more_id=[each.image.id for each in examples if each.kind == "more"],
        unlike_id=[each.image.id for each in examples if each.kind == "unlike"],
        k=options.k + 1,  # one may be the query itself
        label=options.label,
        rerank=options.rerank and not examples,
        strategy=options.strategy,
    )
    shown = Shown.of(result, None if box or examples else query.id, options.k)
    facts = _facts(result, started, query_name=query.name, shown=shown)
    told = left_out([*skipped, *result.skipped])
    return facts | {"query": query, "box": box, "examples": examples, "left_out": told}


def _examples(asked: Any) -> tuple[list[Example], list[Skipped]]:
    """The images that an address names, those of kind `id` being the query itself; and those that are gone."""
    found, skipped = [], []
    for kind in ("id", "more", "unlike"):
        for id in asked.getlist(kind)[: MOST_EXAMPLES - 1]:
            try:
                found.append(Example(client().image(image_id(id)), kind))
            except NotFound:
                skipped.append(client().gallery.skipped(id))
    return found, skipped


def _box(text: str) -> list[float] | None:
    """What an address says of the part that is meant. Raises BadBox."""
    try:
        return numbers_of_box(text)
    except ValueError as error:
        raise BadBox(f"a box must be four numbers, got {text[:40]}", hint="draw one again") from error


def _facts(result: SearchResult, started: float, *, query_name: str | None, shown: Shown) -> dict[str, Any]:
    took_ms = 1000 * (time.perf_counter() - started)
    return {"result": result, "took_ms": took_ms, "query_name": query_name, "shown": shown}


def _answered(options: Options, answer: Any) -> ResponseReturnValue:
    """The page with the answer, or with what went wrong in its place: the form stays at hand either way."""
    try:
        return _rendered(options, **answer())
    except LookalikeError as error:
        told = _told(error)
        headers = {"Retry-After": str(RETRY_AFTER_S)} if told["status"] == 503 else {}
        return _rendered(options, error=told), told["status"], headers


def _told(error: LookalikeError) -> dict[str, Any]:
    """What went wrong, as the page shows it. It goes on by itself where a part of the system is away."""
    status, title = status_of(error)
    detail, hint = error.message, error.hint
    if safe := photos_are_safe(error):
        detail = safe.rstrip(".")
        if error.message.lower() != detail.lower():
            hint = ": ".join(filter(None, (error.message, error.hint)))
    return {"title": title, "detail": detail, "hint": hint, "status": status}


def _rendered(options: Options, **shown: Any) -> str:
    is_asked = not shown.get("result") and shown.get("error", {}).get("status") != 503  # nobody waits for it twice
    samples, gallery_problem = _samples() if is_asked else ([], None)
    return render_template(
        "search.html",
        options=options,
        counts=COUNTS,
        link_options=options.as_query(),
        samples=samples,
        gallery_problem=gallery_problem,
        **shown,
    )


def _samples() -> tuple[list[GalleryImage], dict[str, Any] | None]:
    """Some images to start from: the newest."""
    try:
        return client().images(limit=SAMPLES)[0], None
    except LookalikeError as error:
        return [], _told(error)
