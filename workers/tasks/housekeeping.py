"""Housekeeping: what somebody must do now and then so that no job waits for its client or for a worker that died.

Every worker process runs it; a lock in Redis lets one of them at a time do it. It enqueues what is due of every running
job, takes publish jobs a step further, sends canaries through the queues, drops collections that a publish which was
stopped has left behind, has the others laid out as their size asks for, removes for good what has been in the trash for
long enough, and once, when nothing else runs, compares storage with the collection.
"""

import itertools
import logging
import threading
import time
from typing import Any

import redis

from workers.gallery.trash import DAY_S
from workers.process.serving import Serving
from workers.queue.app import QUEUES, enqueue_due_chunks
from workers.queue.jobs import DRIVEN, PREFIXES
from workers.queue.liveness import count_living_workers, server_time
from workers.store import COLLECTIONS
from workers.tasks.context import Context
from workers.tasks.labelling import look_ahead
from workers.tasks.publish import abandon

logger = logging.getLogger(__name__)

INTERVAL_S = 2.0
CANARY_INTERVAL_S = 10.0
_RECONCILED = "lookalike:reconciled"
_RECONCILED_S = 24 * 3600  # with many workers, which come and go: once a day
_TRASH_SWEPT = "lookalike:trash-swept"
_TRASH_SWEPT_S = 3600
_TENDED = "lookalike:tended"
_TENDED_S = 60
_PURGED = 500  # images in a round: the next round, two seconds later, goes on
_ABANDONED_S = 600  # a filler that was silent for so long is not waited for
_DRAFT_AGE_S = 3600.0  # no write takes so long
_LARGE = 20_000  # images: in smaller galleries nobody waits long for what is found ahead


class Housekeeping:
    """A thread that keeps house until it is closed."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._canaries_at = -CANARY_INTERVAL_S
        self._looked_ahead: tuple[str, int | None] | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(INTERVAL_S):
            try:
                self.run_once()
            except redis.RedisError as error:
                logger.warning("Redis does not answer: %s", error)
            except Exception:  # storage or store may be away for a while: the next round tries again
                logger.exception("housekeeping failed")

    def run_once(self) -> None:
        """Does what is due, unless another worker has just done it."""
        app, server, jobs, serving = (
            self._context.app,
            self._context.redis,
            self._context.jobs,
            self._context.serving,
        )
        if not server.set("lookalike:housekeeping", self._context.worker, nx=True, px=int(INTERVAL_S * 900)):
            return
        workers = count_living_workers(server)
        running = jobs.running()
        for job in running:
            if jobs.seal_abandoned(job):
                # What the filler had stored and not handed over is indexed then, unless it comes back and does so.
                server.set(_RECONCILED, self._context.worker, ex=_ABANDONED_S)
            enqueue_due_chunks(app, jobs, job, workers)
            if job.startswith(DRIVEN) and not jobs.pending(job):
                app.send_task("advance_publish", (job, server_time(server)), queue="maintenance")
        if time.monotonic() - self._canaries_at > CANARY_INTERVAL_S:
            self._canaries_at = time.monotonic()
            for queue in QUEUES:
                app.send_task("canary", (queue, server_time(server)), queue=queue)
        for entry in serving.registry.building():
            if entry.job not in jobs.running():  # asked anew: it may have begun since
                abandon(serving, entry.job)
        if server.set(_TRASH_SWEPT, self._context.worker, nx=True, ex=_TRASH_SWEPT_S) and self._sweep_trash():
            server.delete(_TRASH_SWEPT)
        if server.set(_TENDED, self._context.worker, nx=True, ex=_TENDED_S):
            for collection in serving.store.collections():
                serving.store.tend(collection)
        if not running and server.set(_RECONCILED, self._context.worker, nx=True, ex=_RECONCILED_S):
            self._reconcile()
        elif not running:
            settle_collections(serving)
            self._look_ahead()

    def _look_ahead(self) -> None:
        """What the queue of photos without a label is made of, found before anybody asks: once after each change."""
        serving = self._context.serving
        collection = serving.active().collection
        seen = (collection, serving.store.version(collection))
        if seen[1] is None or seen == self._looked_ahead:
            return
        self._looked_ahead = seen
        if serving.store.count(collection) >= _LARGE:
            look_ahead(serving)

    def _sweep_trash(self) -> bool:
        """Removes for good what was deleted long ago, models too. Returns whether there may be more images of it."""
        serving = self._context.serving
        until = time.time() - serving.settings.trash_days * DAY_S
        serving.registry.forget_removed(until)
        expired = (each.known.image.id for each in serving.gallery.discarded() if each.deleted_at < until)
        ids = list(itertools.islice(expired, _PURGED))
        removed = sum(serving.gallery.purge(id) for id in ids)
        if removed:
            logger.info(
                "removed %d images that had been in the trash for %d days", removed, serving.settings.trash_days
            )
        return len(ids) == _PURGED

    def _reconcile(self) -> None:
        """What was stored and never handed to a job, because its client or Redis died, is indexed; drafts go."""
        swept = sum(storage.sweep_drafts(_DRAFT_AGE_S) for storage in self._context.serving.storages())
        if swept:
            logger.info("removed %d drafts of writes that were cut short", swept)
        jobs = self._context.jobs
        job = jobs.create("reconcile", {"repair": True, "quick": True})
        jobs.append(job, PREFIXES, counted=False, size=16)
        jobs.seal(job)


def settle_collections(serving: Serving) -> None:
    """Strikes out collections that were begun anew because they were damaged, once they hold what can be embedded."""
    known = serving.log.known()
    for key in [key for key in known if key.startswith(COLLECTIONS)]:
        active = serving.active().collection
        unreadable = sum(key.startswith(("originals/", "metadata/")) for key in known)
        images = sum(1 for _ in serving.gallery.ids())
        if key != f"{COLLECTIONS}{active}" or serving.store.count(active) >= images - unreadable:
            serving.log.mended(key)


def reconcile_again(server: Any) -> None:
    """Asks for a reconciliation although one has been lately: a worker that starts owns the whole system."""
    server.delete(_RECONCILED)
