"""One search: photos and images of the gallery, to ranked answers."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ml.decoders import Prepared, Unfinished, Work
from ml.images import Box, probe
from ml.tuning.calibration import HITS, verdict
from workers.errors import NotFound
from workers.messages import AVERAGE, Result, SearchResult
from workers.process.serving import Serving, ServingModel
from workers.process.slow_searches import Later
from workers.store import Hit
from workers.store.examples import Examples

_RERANKED = 100  # neighbours that re-ranking looks at


@dataclass(frozen=True)
class Example:
    """One image of a query: a photo's bytes, or the id of an image of the gallery.

    `box` is the part that is meant: left, top, width and height as ml.images.Box reads them; None for all of it.
    """

    image: bytes | None = None
    id: str | None = None
    box: Sequence[float] | None = None


def search(
    serving: Serving,
    like: Sequence[Example],
    *,
    unlike: Sequence[Example] = (),
    k: int,
    label: str | None,
    rerank: bool,
    strategy: str = AVERAGE,
) -> SearchResult | Later:
    """Finds the k images most like the query.

    Args:
        serving: models, store and limits of this worker.
        like: what to find more of, at least one. The vector of a whole image of the gallery is the stored one.
        unlike: what not to find. With any of these, or with several of `like`, the images of the query are left out.
        k: number of answers.
        label: only images with this label.
        rerank: reorder the nearest hundred by k-reciprocal encoding; of a single example alone.
        strategy: how several examples count together; see workers.store.examples.

    Returns:
        What was found; or the rest of the search, if a photo takes long to decode.

    Raises:
        UnreadableImage: a photo is none that we accept.
        BadBox: a box is no part of its image.
        NotFound: an image is not in the gallery.
    """
    # The query's vector, the collection and the calibration all come from this one object: no switch falls in between.
    query = _Query(serving, serving.active(), k, label, rerank, strategy, time.perf_counter())
    decoded = [query.decoded(example) for example in (*like, *unlike)]

    def found() -> SearchResult:
        return query.found([_finished(each) for each in decoded], len(like))

    if not any(isinstance(each, Unfinished) for each in decoded):
        return found()

    def finish() -> SearchResult:
        for n, each in enumerate(decoded):
            decoded[n] = _finished(each)
        with serving.batcher.searching():
            return found()

    return Later(finish, sum(len(example.image or b"") for example in (*like, *unlike)))


_Known = np.ndarray | Prepared  # a vector that is stored, or pixels that are to become one


def _finished(each: _Known | Unfinished) -> _Known:
    return each.finish() if isinstance(each, Unfinished) else each


@dataclass
class _Query:
    """A search under way. `clock` is when its current stage began."""

    serving: Serving
    live: ServingModel
    k: int
    label: str | None
    rerank: bool
    strategy: str
    clock: float
    timings: dict[str, float] = field(default_factory=dict)
    shown: set[str] = field(default_factory=set)  # images that are part of the query

    def decoded(self, example: Example) -> _Known | Unfinished:
        """An image's stored vector, or what decoding has made of it so far."""
        if example.id is not None:
            self.shown.add(example.id)
        image = example.image
        if example.id is not None and example.box is None:
            stored = self.serving.store.fetch(self.live.collection, [example.id], with_vectors=True).get(example.id)
            if stored is None or stored.vector is None:
                raise NotFound(f"there is no photo {example.id} in the gallery", hint="it may have been deleted")
            return stored.vector
        if image is None:
            image = self.serving.gallery.original(example.id or "")
        work = Work(self.live.embedder.preprocessing, limits=self.serving.limits)
        if example.box is not None:
            info = probe(image, self.serving.limits)
            work = replace(work, box=Box.of(example.box, (info.width, info.height)))
        return self.serving.decoders.decode_quickly(image, work)

    def found(self, examples: Sequence[_Known], like: int) -> SearchResult:
        """The answer to examples, of which the first so many are what is looked for."""
        pixels = [each.pixels for each in examples if isinstance(each, Prepared)]
        embedded: Iterator[np.ndarray] = iter(())
        if pixels:
            self._lap("decode")
            embedded = iter(self.serving.batcher.embed(self.live.embedder, np.stack(pixels), urgent=True))
            self._lap("embed")
        vectors = [next(embedded) if isinstance(each, Prepared) else each for each in examples]
        if len(vectors) == 1:
            return self._nearest(vectors[0])
        return self._recommended(Examples(vectors[:like], vectors[like:], self.strategy))

    def _nearest(self, vector: np.ndarray) -> SearchResult:
        # With one label alone, hits say nothing of what else there is.
        calibration = None if self.label else self.live.calibration
        limit = max(self.k, _RERANKED if self.rerank else 0, HITS + 1 if calibration else 0)
        hits = self.serving.store.query(self.live.collection, vector, limit, label=self.label, with_vectors=self.rerank)
        said = calibration.probabilities([hit.similarity for hit in hits]) if calibration else None
        likely = None if said is None else {hit.id: value for hit, value in zip(hits, said, strict=True)}
        if self.rerank and len(hits) > 1:
            hits = _reranked(vector, hits)
        return self._answer(hits, likely, self._told(said))

    def _recommended(self, examples: Examples) -> SearchResult:
        limit = self.k + len(self.shown)
        hits = self.serving.store.recommend(self.live.collection, examples, limit, label=self.label)
        hits = [hit for hit in hits if hit.id not in self.shown]
        return self._answer(hits, None, "they are fitted on searches with one photo")

    def _answer(self, hits: Sequence[Hit], likely: Mapping[str, float] | None, told: str) -> SearchResult:
        """`likely`: how likely each hit is right, by its id; None: nothing is claimed, and `told` says why."""
        self._lap("search")
        results = tuple(_result(rank, hit, (likely or {}).get(hit.id)) for rank, hit in enumerate(hits[: self.k], 1))
        matches = None if likely is None else sum(result.verdict == "same" for result in results)
        return SearchResult(self.live.model, self.live.collection, results, self.timings, matches, told)

    def _told(self, said: list[float] | None) -> str:
        """What probabilities were fitted on, or why there are none."""
        if self.label:
            return "among photos of one label nothing is said of how likely they are right"
        if self.live.calibration and said is None:
            return "the gallery has too few photos to say how likely they are right"
        return self.live.told

    def _lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.timings[stage] = round(1000 * (now - self.clock), 2)
        self.clock = now


def _reranked(query: np.ndarray, hits: list[Hit]) -> list[Hit]:
    from ml.evaluation.rerank import k_reciprocal  # scipy takes a while to import, and few searches need it

    gallery = np.stack([hit.vector for hit in hits if hit.vector is not None])
    distances = k_reciprocal(query[None], gallery)[0]
    return [hits[i] for i in np.argsort(distances, kind="stable")]


def _result(rank: int, hit: Hit, probability: float | None) -> Result:
    similarity = float(np.clip(hit.similarity, -1.0, 1.0))
    return Result(
        rank=rank,
        id=hit.id,
        path=hit.payload.path,
        label=hit.payload.label,
        similarity=round(similarity, 6),
        distance=round(float(np.sqrt(max(0.0, 2 - 2 * similarity))), 6),
        probability=None if probability is None else round(probability, 4),
        verdict=None if probability is None else verdict(probability),
    )
