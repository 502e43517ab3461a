"""Fits the active model's head to the gallery: the steps of `lookalike tune` before those of a publish.

    vary    a sample of the originals is decoded again, and views of each are embedded (ml.tuning.views)
    look    of a large gallery: around each of these photos, pairs that are mutual neighbours once what views vary
            counts less; a small one has all of its photos in the sample, and the fit finds them
    fit     the map is fitted on both, and the model with it is registered

Chunks of the first two stand for a 256th of the gallery each. What they find is collected with the job: differences of
vectors, one byte for a number, deleted after the fit. What follows is the ordinary publish, whose collection is
projected from the active one: workers.tasks.reconcile.
"""

import base64
import functools
import itertools
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ml.data.seen_photos import packed
from ml.decoders import Work
from ml.images import UnreadableImage
from ml.model.head import Head
from ml.model.writer import replace_head
from ml.records import Damaged
from ml.tuning.gallery_head import (
    SAMPLE,
    Conversion,
    Differences,
    GalleryHead,
    Scheme,
    check_size,
    fit,
    mutual_pairs,
    partners,
    through,
    views_for,
)
from ml.tuning.left_out import AsNew, paired, similarities_as_new
from ml.tuning.taught import why_not
from ml.tuning.views import views
from workers.errors import NotFound, Refused
from workers.messages import AlikePair, VariedImage, WorkerStatus
from workers.process.serving import Serving, ServingModel
from workers.queue.jobs import PREFIXES, Chunk, Jobs
from workers.store import Query, points_with_prefix

_AROUND = 64  # photos around one, among which its partners are looked for: nine of ten are those of the whole gallery
_ASKED = 4  # photos, between two searches
_RENEWED_S = 5.0
_NAME = "tuned"

Step = dict[str, Any] | None


def begin(serving: Serving, jobs: Jobs, workers: list[WorkerStatus], job: str, state: dict[str, Any]) -> Step:
    """Sends the gallery to `vary`. Raises GalleryTooSmall, and Refused when most of it taught the model."""
    live = serving.active()
    photos = serving.store.count(live.collection)
    check_size(photos)
    ids = itertools.islice(serving.gallery.ids(), SAMPLE)  # hashes, so that the first are a fair draw
    if not state.get("force") and (reason := why_not(live.embedder.bundle.lineage, ids)):
        raise Refused(
            f"the head stays as labels taught it: {reason}", hint="lookalike tune --force fits it all the same"
        )
    common = {"photos": photos, "source": live.collection, "is_sampled": photos > SAMPLE}
    jobs.forget_findings(job)  # of a model that is not active any more
    jobs.set_params(job, common | {"views": views_for(photos), "force": state.get("force", False)})
    jobs.append(job, PREFIXES, counted=False, size=8)
    return {"phase": "look", "photos": photos}


def begin_to_look(serving: Serving, jobs: Jobs, workers: list[WorkerStatus], job: str, state: dict[str, Any]) -> Step:
    """Sends a large gallery to `look`."""
    if serving.active().collection != state["source"]:
        return {"phase": "vary"}  # another model was switched to meanwhile
    kept = {name: state[name] for name in ("photos", "source", "is_sampled")}
    neighbours = Scheme.of(serving.active().embedder.bundle.lineage).neighbours(int(state["photos"]))
    jobs.set_params(job, kept | {"neighbours": neighbours, "force": state.get("force", False)})
    if state["is_sampled"]:
        jobs.append(job, PREFIXES, counted=False, size=8)
    return {"phase": "fit"}


def find(serving: Serving, jobs: Jobs, chunk: Chunk) -> Sequence[VariedImage | AlikePair]:
    """What a chunk of a tuning is for: views of its photos, or pairs with one of them."""
    live = serving.active()
    if live.collection != chunk.params["source"]:
        return []  # the next step begins again
    renew = jobs.renewing(chunk)
    ids = [id for prefix in chunk.items for id in _with_prefix(serving, live.collection, prefix, chunk.params)]
    if "views" in chunk.params:
        return vary(serving, live, ids, int(chunk.params["views"]), renew)
    return look(
        serving,
        live,
        ids,
        _first_fit(jobs, chunk.job, live.collection, Scheme.of(live.embedder.bundle.lineage)),
        int(chunk.params["neighbours"]),
        renew,
    )


def vary(
    serving: Serving, live: ServingModel, ids: Sequence[str], count: int, renew: Callable[[], None]
) -> list[VariedImage]:
    """Embeds views of photos. Originals that cannot be read, or have no vector, are left out: a sample can do without.

    Args:
        serving: this worker's decoders, models and gallery.
        live: the model and its collection.
        ids: photos.
        count: views of each.
        renew: called now and then, to say that work goes on.
    """
    found = []
    for start in range(0, len(ids), serving.decode_step):
        part = ids[start : start + serving.decode_step]
        drawing = {id: serving.preparers.submit(_draw, serving, live, id, count) for id in part}
        while wait(drawing.values(), _RENEWED_S).not_done:
            renew()
        results = {id: future.result() for id, future in drawing.items()}
        drawn = {id: of_one for id, of_one in results.items() if of_one is not None}
        stored = serving.store.fetch(live.collection, list(drawn), with_vectors=True)
        originals = {id: point.vector for id, point in stored.items() if point.vector is not None}
        if not originals:
            continue
        pixels = np.concatenate([drawn[id] for id in originals])
        plain = _without_tuning(live.embedder.head)
        vectors = plain(np.stack(list(originals.values())))
        embedded = plain(serving.batcher.embed(live.embedder, pixels, urgent=False)).reshape(len(vectors), count, -1)
        for id, vector, of_views in zip(originals, vectors, embedded, strict=True):
            found.append(VariedImage(id, _packed(vector[None]), _packed(of_views - vector)))
        renew()
    return found


def look(
    serving: Serving,
    live: ServingModel,
    ids: Iterable[str],
    first: GalleryHead,
    neighbours: int,
    renew: Callable[[], None],
) -> list[AlikePair]:
    """Pairs of each of these photos with one that is around it, mutual nearest neighbours through a first map.

    The store knows neighbours without that map: those with it are nearly all among the nearest few without.
    """
    found = []
    tune = through(first.linear_map)
    plain = _without_tuning(live.embedder.head)
    waiting = iter(ids)
    while part := list(itertools.islice(waiting, _ASKED)):
        serving.batcher.yield_to_searches()
        stored = serving.store.fetch(live.collection, part, with_vectors=True)
        asked = {id: point.vector for id, point in stored.items() if point.vector is not None}
        if not asked:
            continue
        queries = [Query(vector, _AROUND + 1, with_vectors=True) for vector in asked.values()]
        answers = serving.store.query_batch(live.collection, queries)
        near = [
            {id: vector} | {hit.id: hit.vector for hit in hits if hit.id != id and hit.vector is not None}
            for (id, vector), hits in zip(asked.items(), answers, strict=True)
        ]
        # Through the maps at once: of a few rows, what a map takes is the reading of it.
        rows_of_all = plain(np.stack([vector for each in near for vector in each.values()]))
        ends = np.cumsum([len(each) for each in near])[:-1]
        for each, rows, tuned in zip(near, np.split(rows_of_all, ends), np.split(tune(rows_of_all), ends), strict=True):
            id, *names = each
            for other in partners(tuned, neighbours):
                partner = names[other - 1]
                difference = _packed(rows[:1] - rows[other : other + 1])
                found.append(AlikePair(min(id, partner), max(id, partner), difference))
        renew()
    return found


def fit_and_register(
    serving: Serving, jobs: Jobs, workers: list[WorkerStatus], job: str, state: dict[str, Any]
) -> Step:
    """Fits the map on what was found, and registers the active model with it. Raises GalleryTooSmall."""
    live = serving.active()
    if live.collection != state["source"]:
        return {"phase": "vary"}  # another model was switched to meanwhile
    bundle = live.embedder.bundle
    scheme = Scheme.of(bundle.lineage)
    fitted, as_new = _fit(
        jobs,
        job,
        int(state["neighbours"]),
        scheme,
        is_sampled=bool(state["is_sampled"]),
        on_row=serving.batcher.yield_to_searches,
    )
    facts = {
        "from": live.model,
        "photos": state["photos"],
        "views": fitted.views,
        "pairs": fitted.pairs,
        "neighbours": fitted.neighbours,
    }
    lineage = {key: value for key, value in bundle.lineage.items() if key != "registered_at"}
    lineage |= {"tuning": facts | {"seen": packed(as_new.photos)}}
    base = bundle.name.split(f"-{_NAME}")[0]
    with tempfile.TemporaryDirectory(dir=serving.settings.home) as folder:
        head = replace(live.embedder.head, tuning=(fitted.linear_map,))
        made = Path(folder) / f"{base}-{_NAME}"
        replace_head(bundle, head, made, name=made.name, lineage=lineage, as_new=as_new.tensors())
        model = serving.registry.register(made, cache_dir=serving.settings.compiled)
    jobs.forget_findings(job)
    return {"phase": "prepare", "model": model, "collection": f"gallery-{model}-{job[-6:]}", "tuning": facts}


def _draw(serving: Serving, live: ServingModel, id: str, count: int) -> np.ndarray | None:
    """Views of an original as the network takes them; None where there is none to be read."""
    serving.batcher.yield_to_searches()
    try:
        work = Work(live.embedder.preprocessing, limits=serving.limits)
        pixels = serving.decoders.decode(serving.gallery.original(id), work).pixels
    except (UnreadableImage, Damaged, NotFound):
        return None
    return views(pixels, count, seed=int(id, 16))


def _with_prefix(serving: Serving, collection: str, item: str, params: dict[str, Any]) -> Iterable[str]:
    """The photos of an item: all, or of a large gallery the first few. Ids are hashes, so that is a fair draw."""
    prefix = item.removeprefix("prefix:")
    if not params["is_sampled"]:
        return points_with_prefix(serving.store, collection, prefix)
    first = int(prefix + 30 * "0", 16)
    after = f"{first - 1:032x}" if first else None
    points = serving.store.points(collection, after=after, limit=SAMPLE // len(PREFIXES))
    return [point.id for point in itertools.takewhile(lambda point: point.id.startswith(prefix), points)]


@functools.lru_cache(maxsize=2)  # every chunk needs it
def _first_fit(jobs: Jobs, job: str, source: str, scheme: Scheme) -> GalleryHead:
    """The map of the views alone, of the collection that the job began with."""
    varied = _varied(jobs, job)
    vectors = _unpacked([each["vector"] for each in varied.values()], _dim_of(varied))
    return fit(vectors.mean(axis=0), _differences(varied), scheme=scheme)


def _fit(
    jobs: Jobs,
    job: str,
    neighbours: int,
    scheme: Scheme,
    *,
    is_sampled: bool,
    on_row: Callable[[], None] = lambda: None,
) -> tuple[GalleryHead, AsNew]:
    """The map of all that was found, and what its photos would find if they were new."""
    varied = _varied(jobs, job)
    ids, vectors = list(varied), _unpacked([each["vector"] for each in varied.values()], _dim_of(varied))
    of_views = _differences(varied)
    mean = vectors.mean(axis=0)
    of_pairs = Differences(len(mean))
    own: dict[int, list[np.ndarray]]
    if is_sampled:
        # Each photo of a pair may have found it.
        pairs = {(each["one"], each["other"]): each for each in jobs.collected(job) if "difference" in each}
        rows = _unpacked([each["difference"] for each in pairs.values()], len(mean))
        of_pairs.add(rows)
        place, own = {id: row for row, id in enumerate(ids)}, {}
        for both, row in zip(pairs, rows, strict=True):
            for id in place.keys() & set(both):
                own.setdefault(place[id], []).append(row)
    else:
        places = mutual_pairs(through(fit(mean, of_views, scheme=scheme).linear_map)(vectors), neighbours)
        of_pairs.add(vectors[places[:, 0]] - vectors[places[:, 1]])
        own = paired(vectors, places)
    fitted = fit(mean, of_views, of_pairs, neighbours, scheme)

    def views_of(row: int) -> np.ndarray:
        return _unpacked([varied[ids[row]]["differences"]], len(mean))

    return fitted, AsNew.of(ids, similarities_as_new(fitted, scheme, vectors, views_of, own, on_row))


def _varied(jobs: Jobs, job: str) -> dict[str, dict[str, Any]]:
    """id -> what was found of the photos that were varied. Raises GalleryTooSmall where that is none."""
    varied = {each["id"]: each for each in jobs.collected(job) if "differences" in each}
    if not varied:
        check_size(0)
    return varied


def _dim_of(varied: Mapping[str, Mapping[str, Any]]) -> int:
    return len(base64.b64decode(next(iter(varied.values()))["vector"])) - _SCALE_BYTES


def _differences(varied: Mapping[str, Mapping[str, Any]]) -> Differences:
    """What views differ from their photos by."""
    dim = _dim_of(varied)
    found = Differences(dim)
    found.add(_unpacked([each["differences"] for each in varied.values()], dim))
    return found


@functools.lru_cache(maxsize=2)  # a matrix is inverted
def _without_tuning(head: Head) -> Conversion:
    """From what a collection holds to vectors without tuning."""
    return Conversion(head, replace(head, tuning=()))


_SCALE_BYTES = 4


def _packed(rows: np.ndarray) -> str:
    """float32 [n, d] as base64 of one scale and bytes: a 250th of the largest number is below what a fit can see."""
    scale = np.float32(max(float(np.abs(rows).max(initial=0.0)), 1e-12) / 127)
    return base64.b64encode(scale.tobytes() + np.rint(rows / scale).astype(np.int8).tobytes()).decode()


def _unpacked(packed: Sequence[str], dim: int) -> np.ndarray:
    """float32 [n, dim], the rows of all."""
    parts = [np.empty((0, dim), np.float32)]
    for each in packed:
        raw = base64.b64decode(each)
        rows = np.frombuffer(raw, np.int8, offset=_SCALE_BYTES).reshape(-1, dim)
        parts.append(rows.astype(np.float32) * np.frombuffer(raw, np.float32, count=1))
    return np.concatenate(parts)
