"""One chunk of a job: the step that it wants, and what becomes of it when that fails."""

import errno
import functools
import logging
import time

from ml.errors import LookalikeError
from ml.storage import StorageFailed
from workers.errors import JobEnded, NotFound
from workers.messages import Failure
from workers.metrics import FAILURES, IMAGES, TASK_SECONDS
from workers.process.serving import ServingModel
from workers.queue.jobs import CHUNK, COUNTERS, MAX_ATTEMPTS, Chunk
from workers.tasks import duplicates, tuning
from workers.tasks.context import Context
from workers.tasks.housekeeping import reconcile_again
from workers.tasks.reconcile import Outcome, chunk_size, reconcile
from workers.tasks.transfer import transfer
from workers.tasks.verify import compare
from workers.tasks.waiting import told, wait_or_fail

logger = logging.getLogger(__name__)


def work(context: Context, chunk: Chunk) -> None:
    """Takes the step and counts what came of it. What fails is tried again, or put aside with its reason."""
    started = time.perf_counter()
    if chunk.attempt > MAX_ATTEMPTS:
        _put_aside(context, chunk, f"processing it ended the worker {MAX_ATTEMPTS} times; it was put aside")
        return
    try:
        outcome = _step(context, chunk)
        context.heartbeat.beat()
    except JobEnded:
        return
    except LookalikeError as error:
        FAILURES.labels(type(error).__name__).inc()
        wait_or_fail(context.jobs, chunk.job, error, functools.partial(context.jobs.postpone, chunk))
        return
    except Exception as error:
        logger.exception("chunk %d of %s failed", chunk.number, chunk.job)
        if told(error).passes:
            wait_or_fail(context.jobs, chunk.job, told(error), functools.partial(context.jobs.postpone, chunk))
        elif chunk.attempt == MAX_ATTEMPTS:
            _put_aside(context, chunk, f"processing it failed {MAX_ATTEMPTS} times: {error}; it was put aside")
        else:
            context.jobs.release(chunk, pause_s=1.0)
        return
    if context.jobs.finish(chunk, outcome.counts, outcome.failures):
        outcome.clean_up(context.serving)
        for result in COUNTERS:
            IMAGES.labels(result).inc(outcome.counts.get(result, 0))
    TASK_SECONDS.labels(chunk.job.split("-")[0], "all").observe(time.perf_counter() - started)


def _step(context: Context, chunk: Chunk) -> Outcome:
    """The step of the chunk's job."""
    if "threshold" in chunk.params:
        context.jobs.collect(chunk.job, duplicates.find(context.serving, chunk, context.jobs.renewing(chunk)))
        return Outcome({"done": len(chunk.items)})
    if "source" in chunk.params:
        context.jobs.collect(chunk.job, tuning.find(context.serving, context.jobs, chunk))
        return Outcome({})
    if chunk.job.startswith(("backup-", "restore-", "migrate-")):
        return Outcome(_transferred(context, chunk))
    if chunk.items[0].startswith("prefix:"):
        return _compared(context, chunk)
    return _reconciled(context, chunk)


def _compared(context: Context, chunk: Chunk) -> Outcome:
    """Compares storage and collection, and adds to the job what is to be mended."""
    comparison = compare(context.serving, chunk, context.jobs.renewing(chunk))
    if chunk.params.get("repair") or "collection" in chunk.params:
        ids = comparison.ids
        if chunk.job.startswith("reconcile-") and any(job.startswith("index-") for job in context.jobs.running()):
            ids = []  # what an index job stores is its own to count
            reconcile_again(context.redis)
        target = _target(context, chunk)
        size = CHUNK if target is None else chunk_size(context.serving, target)
        context.jobs.append(chunk.job, ids, size=size)
    context.jobs.collect(chunk.job, comparison.findings)
    return Outcome(comparison.counts)


def _reconciled(context: Context, chunk: Chunk) -> Outcome:
    """Brings images in line, in the active collection or in one that is being built."""
    outcome = reconcile(
        context.serving,
        chunk.items,
        _target(context, chunk),
        renew=context.jobs.renewing(chunk),
        intended=lambda: context.jobs.intended(chunk),
        note_intent=lambda results: context.jobs.note_intent(chunk, results),
    )
    outcome.counts |= {"done": len(chunk.items), "failed": len(outcome.failures)}
    return outcome


def _target(context: Context, chunk: Chunk) -> ServingModel | None:
    """The model and collection of a chunk that has one of its own."""
    if "collection" not in chunk.params:
        return None
    return context.serving.live(chunk.params["model"], chunk.params["collection"])


def _transferred(context: Context, chunk: Chunk) -> dict[str, int]:
    """A full disk under an archive does not pass: nobody but the one who waits for the archive will free it."""
    try:
        return transfer(context.serving, chunk, context.jobs.renewing(chunk))
    except StorageFailed as error:
        is_full = isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.ENOSPC, errno.EDQUOT)
        raise StorageFailed(error.message, hint=error.hint, passes=error.passes and not is_full) from error


def _put_aside(context: Context, chunk: Chunk, reason: str) -> None:
    """Tries the items one by one, or gives up on the one that is left."""
    if len(chunk.items) > 1:
        context.jobs.split(chunk)
        return
    (item,) = chunk.items
    try:
        path = context.serving.gallery.image(item).path
    except NotFound:
        path = item
    context.jobs.finish(chunk, {"done": 1, "failed": 1}, [Failure(path, reason)])
