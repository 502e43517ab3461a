"""Searches, several at a time: photos and images of the gallery, to ranked answers.

Those that wait together share one forward pass and one query of the store. What goes wrong with one of them is its own.
"""

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ml.decoders import Prepared, Unfinished, Work
from ml.errors import LookalikeError
from ml.images import Box, probe
from workers.errors import NotFound
from workers.messages import AVERAGE, SearchResult, Skipped
from workers.process.serving import Serving, ServingModel
from workers.process.slow_searches import Later
from workers.store import Hit, Query
from workers.store.examples import Examples
from workers.tasks import ranking

logger = logging.getLogger(__name__)

_TOGETHER_S = 0.02  # photos that are decoded by then do not wait for the others


@dataclass(frozen=True)
class Example:
    """One image of a query: a photo's bytes, or the id of an image of the gallery.

    `box` is the part that is meant: left, top, width and height as ml.images.Box reads them; None for all of it.
    """

    image: bytes | None = None
    id: str | None = None
    box: Sequence[float] | None = None


@dataclass(frozen=True)
class Request:
    """What is asked.

    Args:
        like: what to find more of, at least one. The vector of a whole image of the gallery is the stored one.
        unlike: what not to find. With any of these, or with several of `like`, the images of the query are left out.
        k: number of answers.
        label: only images with this label.
        rerank: order the nearest hundred by k-reciprocal encoding, instead of averaging the nearest fifty with their
            neighbours; of a single example alone.
        strategy: how several examples count together; see workers.store.examples.
    """

    like: Sequence[Example]
    k: int
    label: str | None = None
    rerank: bool = False
    unlike: Sequence[Example] = ()
    strategy: str = AVERAGE

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> "Request":
        """One that crossed the queue: the same with examples as mappings."""
        made = {name: [Example(**each) for each in message.get(name, ())] for name in ("like", "unlike")}
        return cls(**{**message, **made})


Outcome = SearchResult | Later | LookalikeError


def search(serving: Serving, requests: Sequence[Request]) -> Iterator[dict[int, Outcome]]:
    """Finds for each request the images most like its query.

    Args:
        serving: models, store and limits of this worker.
        requests: those that wait together.

    Yields:
        Position of a request -> what was found, or what is wrong with it: UnreadableImage, a photo is none that we
        accept; BadBox, a box is no part of its image; NotFound, an image is not in the gallery. Or the rest of the
        search, if a photo takes long to decode.
    """
    # The query's vector, the collection and the calibration all come from this one object: no switch falls in between.
    live, clock = serving.active(), time.perf_counter()
    queries = {_Search(live, request, clock): position for position, request in enumerate(requests)}
    for ready in _decoded(serving, list(queries)):
        _answer(serving, [query for query in ready if query.outcome is None])
        yield {queries[query]: query.outcome for query in ready if query.outcome is not None}


@dataclass(eq=False)
class _Part:
    """An example of a query under way: pixels are to become its vector, if it is none that is stored."""

    example: Example
    is_like: bool = True
    pixels: np.ndarray | None = None
    vector: np.ndarray | None = None

    @property
    def is_stored(self) -> bool:
        return self.example.id is not None and self.example.box is None


@dataclass(eq=False)
class _Search:
    """A search under way. `clock` is when its current stage began."""

    live: ServingModel
    request: Request
    clock: float
    timings: dict[str, float] = field(default_factory=dict)
    outcome: Outcome | None = None
    skipped: list[Skipped] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.parts = [_Part(example) for example in self.request.like]
        self.parts += [_Part(example, is_like=False) for example in self.request.unlike]

    def skip(self, part: _Part, skipped: Skipped) -> None:
        """Goes on without an image that is gone. The search fails when nothing is left to look for."""
        self.parts.remove(part)
        self.skipped.append(skipped)
        if not any(part.is_like for part in self.parts):
            self.outcome = NotFound(
                f"there is no photo {part.example.id} in the gallery", hint="it may have been deleted"
            )

    @property
    def is_to_be_decoded(self) -> bool:
        return not all(part.is_stored for part in self.parts)

    def lap(self, stage: str) -> None:
        """A stage ends."""
        now = time.perf_counter()
        self.timings[stage] = round(1000 * (now - self.clock), 2)
        self.clock = now


def _decoded(serving: Serving, queries: Sequence[_Search]) -> Iterator[list[_Search]]:
    """Queries whose pixels are there, or that need none or failed; those that take longer follow on their own."""
    ready = [query for query in queries if not query.is_to_be_decoded]
    others = [query for query in queries if query.is_to_be_decoded]
    if len(others) < 2:
        for query in others:
            _decode(serving, query)
        yield list(queries)
        return
    waiting = {serving.query_decoders.submit(_decode, serving, query): query for query in others}
    while waiting:
        done, _ = futures.wait(waiting, _TOGETHER_S)
        if not done:
            done, _ = futures.wait(waiting, return_when=futures.FIRST_COMPLETED)
        yield ready + [waiting.pop(each) for each in done]
        ready = []


def _decode(serving: Serving, query: _Search) -> None:
    def decode(_: Sequence[_Search]) -> None:
        rests: dict[_Part, Unfinished] = {}
        for part in [each for each in query.parts if not each.is_stored]:
            try:
                made = _decoded_quickly(serving, query.live, part.example)
            except NotFound:
                query.skip(part, serving.gallery.skipped(part.example.id or ""))
            else:
                if isinstance(made, Unfinished):
                    rests[part] = made
                else:
                    part.pixels = made.pixels
        if query.outcome is not None:
            return
        if rests:
            query.outcome = _later(serving, query, rests)
        else:
            query.lap("decode")

    _attempt([query], decode)


def _decoded_quickly(serving: Serving, live: ServingModel, example: Example) -> Prepared | Unfinished:
    image = serving.gallery.original(example.id or "") if example.image is None else example.image
    work = Work(live.embedder.preprocessing, limits=serving.limits)
    if example.box is not None:
        info = probe(image, serving.limits)
        work = dataclasses.replace(work, box=Box.of(example.box, (info.width, info.height)))
    return serving.decoders.decode_quickly(image, work)


def _later(serving: Serving, query: _Search, rests: Mapping[_Part, Unfinished]) -> Later:
    def finish() -> SearchResult:
        for part, rest in rests.items():
            part.pixels = rest.finish().pixels
        query.outcome = None
        query.lap("decode")
        with serving.batcher.searching():
            _answer(serving, [query])
        match query.outcome:
            case SearchResult() as found:
                return found
            case LookalikeError() as error:
                raise error
        raise AssertionError

    return Later(finish, sum(len(part.example.image or b"") for part in query.parts))


def _answer(serving: Serving, queries: Sequence[_Search]) -> None:
    """Decoded queries to outcomes."""
    for step in (_embed, _look_up, _find):
        left = [query for query in queries if query.outcome is None]
        _attempt(left, lambda some, step=step: step(serving, some))  # type: ignore[misc]


def _embed(serving: Serving, queries: Sequence[_Search]) -> None:
    with_pixels = [query for query in queries if query.is_to_be_decoded]
    parts = [part for query in with_pixels for part in query.parts if part.pixels is not None]
    if not parts:
        return
    pixels = np.stack([part.pixels for part in parts if part.pixels is not None])
    for part, vector in zip(parts, serving.batcher.embed(queries[0].live.embedder, pixels, urgent=True), strict=True):
        part.vector = vector
    for query in with_pixels:
        query.lap("embed")


def _look_up(serving: Serving, queries: Sequence[_Search]) -> None:
    ids = {part.example.id: None for query in queries for part in query.parts if part.is_stored and part.example.id}
    if not ids:
        return
    stored = serving.store.fetch(queries[0].live.collection, list(ids), with_vectors=True)
    for query in queries:
        for part in [each for each in query.parts if each.is_stored]:
            point = stored.get(part.example.id or "")
            part.vector = None if point is None else point.vector
            if part.vector is None:
                query.skip(part, serving.gallery.skipped(part.example.id or ""))


def _find(serving: Serving, queries: Sequence[_Search]) -> None:
    asked = [_asked(query) for query in queries]
    found = serving.store.query_batch(queries[0].live.collection, asked)
    for query, each, hits in zip(queries, asked, found, strict=True):
        result = _found(query, each, hits)
        query.lap("search")
        query.outcome = dataclasses.replace(result, timings_ms=query.timings, skipped=tuple(query.skipped))


def _asked(query: _Search) -> Query:
    request = query.request
    like = [part.vector for part in query.parts if part.vector is not None and part.is_like]
    unlike = [part.vector for part in query.parts if part.vector is not None and not part.is_like]
    if len(request.like) == 1 and not request.unlike:
        limit = ranking.hits_wanted(request.k, rerank=request.rerank)
        return Query(like[0], limit, request.label, with_vectors=True)
    examples = Examples(like, unlike, request.strategy)
    return Query(examples, request.k + len(query.parts), request.label)


def _found(query: _Search, asked: Query, hits: list[Hit]) -> SearchResult:
    k, label = query.request.k, query.request.label
    if not isinstance(asked.target, Examples):
        return ranking.nearest(query.live, asked.target, hits, k=k, label=label, rerank=query.request.rerank)
    shown = {part.example.id for part in query.parts}
    others = [hit for hit in hits if hit.id not in shown]
    return ranking.answer(query.live, others[:k], None, "they are fitted on searches with one photo")


def _attempt(queries: Sequence[_Search], step: Callable[[Sequence[_Search]], None]) -> None:
    """Takes a step with all of them. When our code fails at that, with each alone: the others are not to blame."""
    if not queries:
        return
    try:
        step(queries)
    except LookalikeError as error:
        for query in queries:
            query.outcome = error
    except Exception:
        if len(queries) > 1:
            for query in queries:
                _attempt([query], step)
            return
        logger.exception("a search failed")
        queries[0].outcome = LookalikeError("the worker failed to answer", hint="its log has the details; try again")
