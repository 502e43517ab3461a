"""Fits the active model's head to the gallery: the steps of `lookalike tune` before those of a publish.

Workers look up each photo's neighbours in the store, a 256th of the gallery at a time; of a large gallery a sample, and
the neighbours' own neighbours with it. One step fits the map on the pairs that are mutual and registers the model. What
follows is the ordinary publish, whose collection is projected from the active one: workers.tasks.reconcile.
"""

import itertools
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ml.model.writer import replace_head
from ml.tuning.gallery_head import Conversion, fit, mutual_pairs, neighbours_for
from workers.messages import Neighbours, WorkerStatus
from workers.process.serving import Serving, ServingModel
from workers.queue.jobs import PREFIXES, Chunk, Jobs
from workers.store import points_with_prefix

_SAMPLE = 3072  # photos whose pairs are taken: more pairs than a matrix of 1280 x 1280 needs
_AT_ONCE = 10  # vectors that are fetched between two searches
_NAME = "tuned"

Step = dict[str, Any] | None


def begin(serving: Serving, jobs: Jobs, workers: list[WorkerStatus], job: str, state: dict[str, Any]) -> Step:
    """Sends the whole gallery to `look`. Raises GalleryTooSmall."""
    live = serving.active()
    count = serving.store.count(live.collection)
    params = {"neighbours": neighbours_for(count), "photos": count, "source": live.collection}
    jobs.set_params(job, params | {"is_sampled": count > _SAMPLE, "force": state.get("force", False)})
    jobs.append(job, PREFIXES, counted=False, size=8)
    return {"phase": "fit", "photos": count}


def look(serving: Serving, chunk: Chunk, renew: Callable[[], None]) -> list[Neighbours]:
    """The neighbours of the photos whose ids start with the prefixes of a chunk.

    Args:
        serving: this worker's store.
        chunk: items are of jobs.PREFIXES; its params are those of `begin`.
        renew: called now and then, to say that work goes on.
    """
    collection, count = str(chunk.params["source"]), int(chunk.params["neighbours"])
    found: dict[str, tuple[str, ...]] = {}

    def add(ids: Iterable[str]) -> None:
        for id in ids:
            if id in found:
                continue
            serving.batcher.yield_to_searches()
            stored = serving.store.fetch(collection, [id], with_vectors=True).get(id)
            if stored is None or stored.vector is None:
                continue
            hits = serving.store.query(collection, stored.vector, count + 1)
            found[id] = tuple(hit.id for hit in hits if hit.id != id)[:count]

    for item in chunk.items:
        seeds = list(_with_prefix(serving, collection, item.removeprefix("prefix:"), bool(chunk.params["is_sampled"])))
        add(seeds)
        if chunk.params["is_sampled"]:
            add([other for id in seeds for other in found.get(id, ())])
        renew()
    return [Neighbours(id, nearest) for id, nearest in found.items()]


def _with_prefix(serving: Serving, collection: str, prefix: str, is_sampled: bool) -> Iterable[str]:
    """Ids are hashes: the first ones are a fair draw."""
    if not is_sampled:
        return points_with_prefix(serving.store, collection, prefix)
    first = int(prefix + 30 * "0", 16)
    after = f"{first - 1:032x}" if first else None
    points = serving.store.points(collection, after=after, limit=_SAMPLE // len(PREFIXES))
    return [point.id for point in itertools.takewhile(lambda point: point.id.startswith(prefix), points)]


def fit_and_register(
    serving: Serving, jobs: Jobs, workers: list[WorkerStatus], job: str, state: dict[str, Any]
) -> Step:
    """Fits the map on what was found, and registers the active model with it. Raises GalleryTooSmall."""
    live = serving.active()
    if live.collection != state["source"]:
        return {"phase": "look"}  # another model was switched to meanwhile
    nearest = {each["id"]: each["nearest"] for each in jobs.collected(job)}
    ids, vectors = _without_tuning(serving, live, sorted(nearest))
    position = {id: number for number, id in enumerate(ids)}
    pairs = [pair for pair in mutual_pairs(nearest) if pair[0] in position and pair[1] in position]
    places = np.array([(position[one], position[other]) for one, other in pairs], np.int64).reshape(-1, 2)
    fitted = fit(vectors, places, int(state["neighbours"]))
    bundle = live.embedder.bundle
    facts = {
        "from": live.model,
        "photos": state["photos"],
        "pairs": fitted.pairs,
        "neighbours": fitted.neighbours,
        "shrinkage": round(fitted.shrinkage, 4),
    }
    lineage = {key: value for key, value in bundle.lineage.items() if key != "registered_at"} | {"tuning": facts}
    base = bundle.name.split(f"-{_NAME}")[0]
    with tempfile.TemporaryDirectory(dir=serving.settings.home) as folder:
        head = replace(live.embedder.head, tuning=(fitted.linear_map,))
        made = Path(folder) / f"{base}-{_NAME}"
        replace_head(bundle, head, made, name=made.name, lineage=lineage)
        model = serving.registry.register(made, cache_dir=serving.settings.compiled)
    return {"phase": "prepare", "model": model, "collection": f"gallery-{model}-{job[-6:]}", "tuning": facts}


def _without_tuning(serving: Serving, live: ServingModel, ids: list[str]) -> tuple[list[str], np.ndarray]:
    """Stored vectors as they are before the tuning of the model that gave them, of those ids that still exist."""
    plain = Conversion(live.embedder.head, replace(live.embedder.head, tuning=()))
    found: dict[str, np.ndarray] = {}
    for start in range(0, len(ids), _AT_ONCE):
        stored = serving.store.fetch(live.collection, ids[start : start + _AT_ONCE], with_vectors=True)
        found |= {id: point.vector for id, point in stored.items() if point.vector is not None}
        serving.batcher.yield_to_searches()
        time.sleep(0.001)  # vectors become arrays under the interpreter's lock
    return list(found), plain(np.stack(list(found.values())))
