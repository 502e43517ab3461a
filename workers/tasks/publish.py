"""Publishing a model while searches go on: build beside, check, switch, settle, clean up.

The job's `detail` holds the phase, so that any worker can take the next step after any crash:

    vary      of `tune` alone: views of some images are embedded, see workers.tasks.tuning
    look      of `tune` alone: pairs of images that are alike
    fit       of `tune` alone: a head on both makes the model
    prepare   say in the registry that a collection is being built
    load      wait until every worker holds the model: from then on changes of the gallery reach the new collection
    build     compare gallery and collection, embed what is missing; again until nothing is
    check     known images are found, and labelled neighbours are no worse than the active model's
    preview   if that was asked for: what both models answer, then wait until somebody says that it shall be published
    graph     wait until the collection has the graph that searches go by; it is made since the building ended
    switch    replace `active` in one write; workers follow within a quarter of a second, with the model at hand
    settle    when every worker has followed, compare once more: what a straggler wrote to the old collection alone
    finish    drop collections that no rollback will need
"""

import functools
import logging
from typing import Any

import numpy as np
import redis

from ml.decoders import Work
from ml.errors import LookalikeError
from ml.images import UnreadableImage
from ml.model.registry import Building
from ml.names import JobName
from ml.records import Damaged
from workers.errors import NotFound
from workers.messages import WorkerStatus
from workers.process.serving import Serving, ServingModel
from workers.queue.jobs import PREFIXES, Jobs
from workers.tasks import tuning
from workers.tasks.calibrate import calibrate, stored_vectors
from workers.tasks.preview import preview
from workers.tasks.quality import choose, mean_average_precision_at_r
from workers.tasks.waiting import told, wait_or_fail

logger = logging.getLogger(__name__)

KEPT_COLLECTIONS = 2
MAX_PASSES = 5
_PROBES = 50  # images that are looked up in the new collection
_SAMPLE = 2000  # labelled images that mAP@R is compared on
_OF_ONE_LABEL = 100  # images of a label that are looked at
_TOLERANCE = 0.005  # of mAP@R: less is the noise of a sample


class CheckFailed(Exception):
    """Why a new collection is not fit to be searched."""


def advance(serving: Serving, jobs: Jobs, workers: list[WorkerStatus], job: str) -> bool:
    """Takes the next step of a publish job if it is due. One caller at a time; each step may run twice.

    Returns:
        Whether another one may be due at once: the job has come further.
    """
    if jobs.pending(job):
        return False
    params, detail = jobs.params(job), jobs.status(job).detail
    phase = detail.get("phase", "prepare")
    step = _STEPS[phase]
    try:
        following = step(serving, jobs, workers, job, params | detail)
    except CheckFailed as failure:
        logger.warning("model %s is not published: %s", params.get("model", "of a tuning"), failure)
        jobs.end(job, "failed", detail | {"reason": str(failure)})
        abandon(serving, job)
        return False
    except redis.RedisError:
        raise  # the queue is away: housekeeping comes back to it
    except Exception as error:
        if not isinstance(error, LookalikeError):
            logger.exception("a step of %s failed", job)
        if not wait_or_fail(jobs, job, told(error), functools.partial(jobs.wait, job)):
            abandon(serving, job)
        return False
    now = jobs.status(job)
    if now.is_finished or now.detail.get("phase", "prepare") != phase:
        return False  # it was stopped, or another worker was faster than this one, which stood still for so long
    jobs.go_on(job)
    if following == {"phase": "done"}:
        jobs.end(job, "done", detail | following)
    elif following is not None:
        if "model" in following:  # from here on it is the publishing of that one
            jobs.set_params(job, following | {"force": params.get("force", False)})
        jobs.describe(job, now.detail | following)
        return bool(following.get("phase", phase) != phase)
    return False


def abandon(serving: Serving, job: str) -> None:
    """Forgets the collection of a job that ended before the switch."""
    entries = serving.registry.end_building(job)
    serving.refresh()
    active = serving.registry.active()
    for entry in entries:
        if not (active and active.collection == entry.collection):
            serving.store.drop(entry.collection)


Step = dict[str, Any] | None


def _prepare(serving: Serving, jobs: Jobs, workers: list[WorkerStatus], job: str, state: dict[str, Any]) -> Step:
    live = serving.live(state["model"], state["collection"])
    serving.registry.begin_building(Building(live.model, live.collection, JobName(job)))
    return {"phase": "load"}


def _load(serving: Serving, jobs: Jobs, workers: list[WorkerStatus], job: str, state: dict[str, Any]) -> Step:
    serving.live(state["model"], state["collection"])  # raises what keeps a worker from holding it
    if not workers or any(state["collection"] not in worker.holds for worker in workers):
        return None
    return _next_pass(jobs, job, state, "build")


def _build(serving: Serving, jobs: Jobs, workers: list[WorkerStatus], job: str, state: dict[str, Any]) -> Step:
    found = state.get("missing", 0) + state.get("extra", 0) + state.get("different", 0) - state["found_before"]
    serving.store.make_ready(state["collection"])  # beside the checks that follow
    if found and state["passes"] < MAX_PASSES:
        return _next_pass(jobs, job, state, "build")
    return {"phase": "check"}


def _check(serving: Serving, jobs: Jobs, workers: list[WorkerStatus], job: str, state: dict[str, Any]) -> Step:
    new = serving.live(state["model"], state["collection"])
    stored = serving.store.count(new.collection)
    expected = sum(1 for _ in serving.gallery.ids())
    # Each pass counts an image that cannot be embedded once more: only those of the last one are missing rightly.
    unreadable = jobs.status(job).failed - state.get("failed_before", 0)
    if stored < expected - unreadable:
        raise CheckFailed(f"the collection holds {stored} of {expected} images")
    _check_probes(serving, new)
    quality, about = _compare_quality(serving, new)
    if (
        quality
        and quality["new"] < quality["active"] - _TOLERANCE
        and not (
            state.get("force") or state.get("preview")  # who looks at a preview decides
        )
    ):
        raise CheckFailed(
            f"mAP@R on the labelled gallery is {quality['new']:.3f}, the active model's is {quality['active']:.3f}"
            f" ({about}); publish it anyway (--force) to switch nevertheless"
        )
    following = "preview" if state.get("preview") else "graph"
    return {"phase": following, "map@r": quality, "measured_on": about, "calibration": calibrate(serving, new)}


def _preview(serving: Serving, jobs: Jobs, workers: list[WorkerStatus], job: str, state: dict[str, Any]) -> Step:
    if state.get("is_confirmed"):
        return {"phase": "graph"}
    if "previewed" in state:
        return None
    queries = preview(serving, serving.live(state["model"], state["collection"]))
    jobs.collect(job, queries)
    return {"phase": "preview", "previewed": len(queries)}


def _graph(serving: Serving, jobs: Jobs, workers: list[WorkerStatus], job: str, state: dict[str, Any]) -> Step:
    return {"phase": "switch"} if serving.store.make_ready(state["collection"]) else None


def _switch(serving: Serving, jobs: Jobs, workers: list[WorkerStatus], job: str, state: dict[str, Any]) -> Step:
    serving.registry.activate(state["model"], state["collection"])
    serving.registry.end_building(job)
    serving.refresh()
    return {"phase": "settle"}


def _settle(serving: Serving, jobs: Jobs, workers: list[WorkerStatus], job: str, state: dict[str, Any]) -> Step:
    if any(worker.collection != state["collection"] for worker in workers):
        active = serving.registry.active()
        if active and active.collection == state["collection"]:
            return None  # somebody has not followed yet; after a rollback nobody will
    return _next_pass(jobs, job, state, "finish")


def _finish(serving: Serving, jobs: Jobs, workers: list[WorkerStatus], job: str, state: dict[str, Any]) -> Step:
    for entry in serving.registry.retain(KEPT_COLLECTIONS):
        serving.store.drop(entry.collection)
        serving.registry.forget_calibration(entry.collection)
    return {"phase": "done"}


_STEPS = {
    "vary": tuning.begin,
    "look": tuning.begin_to_look,
    "fit": tuning.fit_and_register,
    "prepare": _prepare,
    "load": _load,
    "build": _build,
    "check": _check,
    "preview": _preview,
    "graph": _graph,
    "switch": _switch,
    "settle": _settle,
    "finish": _finish,
}


def _next_pass(jobs: Jobs, job: str, state: dict[str, Any], phase: str) -> Step:
    found = state.get("missing", 0) + state.get("extra", 0) + state.get("different", 0)
    failed = jobs.status(job).failed
    jobs.append(job, PREFIXES, counted=False, size=16)
    return {"phase": phase, "passes": state.get("passes", 0) + 1, "found_before": found, "failed_before": failed}


def _check_probes(serving: Serving, new: ServingModel) -> None:
    """Embeds some originals again: each must find itself."""
    ids = list(serving.gallery.ids())
    for id in ids[:: max(1, len(ids) // _PROBES)]:
        try:
            work = Work(new.embedder.preprocessing, limits=serving.limits)
            prepared = serving.decoders.decode(serving.gallery.original(id), work)
        except (UnreadableImage, NotFound, Damaged):
            continue  # it says nothing of the collection; `lookalike verify` names it
        vector = serving.batcher.embed(new.embedder, prepared.pixels[None], urgent=False)[0]
        hits = serving.store.query(new.collection, vector, 1)
        finds_itself = bool(hits) and (hits[0].id == id or hits[0].similarity >= 0.99)
        # An image that was deleted meanwhile is missing rightly: the gallery forgets it before its point goes.
        if not finds_itself and serving.gallery.find_many([id]):
            raise CheckFailed(f"image {id} does not find itself in the new collection")


def _compare_quality(serving: Serving, new: ServingModel) -> tuple[dict[str, float], str]:
    """mAP@R of the new and of the active collection on the same labelled images, and which those are; empty when too
    few have labels."""
    active = serving.active()
    labelled = (
        (label, [point.id for point in serving.store.points(new.collection, label=label, limit=_OF_ONE_LABEL)])
        for label, count in serving.store.labels(new.collection).items()
        if count > 1
    )
    chosen = choose(labelled, new.embedder.bundle.lineage, active.embedder.bundle.lineage, most=_SAMPLE)
    ids = [id for id, _ in chosen.photos]
    before, after = (stored_vectors(serving, live.collection, ids) for live in (active, new))
    both = [(id, label) for id, label in chosen.photos if id in before and id in after]
    labels = [label for _, label in both]
    if len(set(labels)) < 2 or len(set(labels)) == len(labels):
        return {}, "too few photos have labels to compare the models on"
    codes = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    figures = {
        name: round(mean_average_precision_at_r(np.stack([vectors[id] for id, _ in both]), codes), 4)
        for name, vectors in (("new", after), ("active", before))
    }
    return figures, chosen.about
