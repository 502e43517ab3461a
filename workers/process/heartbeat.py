"""A worker's signs of life, and the housekeeping that every worker does beside its tasks.

Each worker writes what it is and what it serves every two seconds, and at once when that changes. Whoever holds the
housekeeping lock enqueues what is due of every running job, so that no job waits for its client or for a worker that
died.
"""

import json
import logging
import os
import socket
import sys
import threading
import time
import uuid
from typing import Any

import redis
from celery import Celery

from workers.messages import WorkerStatus
from workers.metrics import observe_model
from workers.process.serving import Live, Serving
from workers.queue.app import QUEUES, living_workers, nudge
from workers.queue.jobs import Jobs, worker_key
from workers.tasks.publish import abandon

logger = logging.getLogger(__name__)

BEAT_S = 2.0
PROBE_S = 10.0
_LIFETIME_S = 8  # without a beat; its claims are then given to others


class Presence:
    """A thread that says "I live" until it is closed."""

    def __init__(self, app: Celery, server: Any, jobs: Jobs, serving: Serving) -> None:
        self.worker = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._app, self._redis, self._jobs, self._serving = app, server, jobs, serving
        self._started_at = time.time()
        self._probed_at = 0.0
        self._closed = threading.Event()
        self._in_turn = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self) -> None:
        self.beat()
        self._thread.start()

    def close(self) -> None:
        """Says goodbye: what this worker still claimed is due at once."""
        self._closed.set()
        self._serving.changed.set()
        self._thread.join()
        self._redis.delete(worker_key(self.worker))
        self._redis.zrem("lookalike:workers", self.worker)

    def forget_others(self) -> None:
        """Declares every other worker dead: whoever owns the embedded store knows that there is none."""
        for other in self._redis.zrange("lookalike:workers", 0, -1):
            self._redis.delete(worker_key(other))
        self._redis.delete("lookalike:workers")

    def _run(self) -> None:
        while True:
            self._serving.changed.wait(BEAT_S)
            self._serving.changed.clear()
            if self._closed.is_set():
                return
            try:
                self.beat()
                self._keep_house()
            except redis.RedisError as error:
                logger.warning("Redis does not answer: %s", error)
            except Exception:  # a worker that stops beating counts as dead, though it works
                logger.exception("housekeeping failed")

    def beat(self) -> None:
        """Writes what this worker is and serves now. Who changed the collection calls it before saying so."""
        with self._in_turn:
            now = time.time()
            live = self._serving.active()
            observe_model(live.model, live.collection, live.embedder.device, live.embedder.precision)
            status = self._status(live)
            with self._redis.pipeline() as pipe:
                pipe.set(worker_key(self.worker), json.dumps(status.to_json()), ex=_LIFETIME_S)
                pipe.zadd("lookalike:workers", {self.worker: now})
                pipe.zremrangebyscore("lookalike:workers", "-inf", now - 3600)
                pipe.execute()

    def _status(self, live: Live) -> WorkerStatus:
        return WorkerStatus(
            id=self.worker,
            host=socket.gethostname(),
            pid=os.getpid(),
            queues=self._serving.settings.queues,
            device=live.embedder.device,
            precision=live.embedder.precision,
            why=live.embedder.why,
            model=live.model,
            collection=live.collection,
            images=self._serving.store.count(live.collection),
            age_s=0.0,
            started_at=self._started_at,
            rss_mb=round(_resident_mb()),
            holds=tuple(target.collection for target in self._serving.targets()),
        )

    def _keep_house(self) -> None:
        if not self._redis.set("lookalike:housekeeping", self.worker, nx=True, px=int(BEAT_S * 900)):
            return
        workers = living_workers(self._redis)
        running = self._jobs.running()
        for job in running:
            self._jobs.seal_abandoned(job)
            nudge(self._app, self._jobs, job, workers)
            if job.startswith("publish-") and not self._jobs.pending(job):
                self._app.send_task("conduct", (job,), queue="maintenance", expires=BEAT_S * 2)
        if time.time() - self._probed_at > PROBE_S:
            self._probed_at = time.time()
            for queue in QUEUES:
                self._app.send_task("canary", (queue, time.time()), queue=queue, expires=60)
        for entry in self._serving.registry.building():
            if entry.job not in running:
                abandon(self._serving, entry.job)


def _resident_mb() -> float:
    """Memory of this process that is in RAM now, or its peak where the system tells only that."""
    try:
        with open("/proc/self/statm") as file:  # noqa: PTH123 - no file, a kernel interface
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 2**10)
