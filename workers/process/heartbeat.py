"""A worker's heartbeat: every two seconds, and at once when that changes, it writes what it is and what it serves.

It asks the store nothing: a worker whose store is away lives, and says what is away. Images are counted beside it.
"""

import logging
import os
import socket
import sys
import threading
import time
import uuid
from typing import Any

import redis

from workers.life_sign import LifeSign
from workers.messages import WorkerStatus
from workers.metrics import observe_model
from workers.process.serving import Serving, ServingModel
from workers.queue import liveness
from workers.store import StoreFailed

logger = logging.getLogger(__name__)

INTERVAL_S = 2.0
_COUNTING_S = 0.5  # how long news of another collection waits for the number of its images
_LONGEST_SILENCE_S = 120.0


class Heartbeat:
    """A thread that beats until it is closed. `worker` is the id of this process among the workers."""

    def __init__(self, server: Any, serving: Serving, life_sign: LifeSign | None = None, worker: str = "") -> None:
        self.worker = worker or worker_id()
        self._redis, self._serving, self._life_sign = server, serving, life_sign
        self._started = time.monotonic()
        self._redis_since = time.monotonic()  # when Redis began to answer
        self._closed = threading.Event()
        self._in_turn = threading.Lock()
        self._images: dict[str, int] = {}  # by collection, as counted last
        self._to_count, self._counted = threading.Event(), threading.Event()
        self._counter = threading.Thread(target=self._keep_counting, name="image-counter", daemon=True)
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Raises redis.RedisError when the first heartbeat cannot be written."""
        self.beat()
        self._counter.start()
        self._thread.start()

    def close(self) -> None:
        """Stops, and says so: what this worker still claimed is due at once."""
        self._closed.set()
        self._serving.changed.set()
        self._to_count.set()
        self._thread.join()
        liveness.forget_worker(self._redis, self.worker)

    def beat(self) -> None:
        """Counts images, and writes what this worker is and serves now.

        Who changed the collection calls it before saying so.
        """
        self._count()
        self._write()

    def _write(self) -> None:
        with self._in_turn:
            live = self._serving.active()
            observe_model(live.model, live.collection, live.embedder.device, live.embedder.precision)
            liveness.record_heartbeat(self._redis, self._status(live))

    def _run(self) -> None:
        while True:
            has_changed = self._serving.changed.wait(INTERVAL_S)
            self._serving.changed.clear()
            if self._closed.is_set():
                return
            self._counted.clear()
            self._to_count.set()
            if has_changed:
                self._counted.wait(_COUNTING_S)
            try:
                self._write()
                self._look_whether_stuck()
            except redis.RedisError as error:
                self._redis_since = time.monotonic()
                logger.warning("Redis does not answer: %s", error)
            except Exception:  # a worker without a heartbeat counts as dead, though it works
                logger.exception("the heartbeat failed")

    def _keep_counting(self) -> None:
        while True:
            self._to_count.wait()
            self._to_count.clear()
            if self._closed.is_set():
                return
            self._count()
            self._counted.set()

    def _count(self) -> None:
        collection = self._serving.active().collection
        try:
            self._images[collection] = self._serving.store.count(collection)
        except StoreFailed as error:
            logger.warning("images cannot be counted: %s", error.message)
        except Exception:  # the number before is shown
            logger.exception("images cannot be counted")

    def _look_whether_stuck(self) -> None:
        """Whether no task of a queue was finished for long, though Redis answered all the time."""
        if self._life_sign is None:
            return
        stuck = ""
        at_most_s = time.monotonic() - max(self._started, self._redis_since)
        for queue in self._serving.settings.queues:
            canary_s = liveness.canary_age_s(self._redis, queue)
            silent_s = at_most_s if canary_s is None else min(at_most_s, canary_s)
            if silent_s > _LONGEST_SILENCE_S:
                stuck = f"no task of queue {queue} was finished for {silent_s:.0f} s"
        self._life_sign.stuck = stuck

    def _status(self, live: ServingModel) -> WorkerStatus:
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
            images=self._images.get(live.collection, 0),
            age_s=0.0,
            started_at=liveness.server_time(self._redis) - (time.monotonic() - self._started),
            rss_mb=round(_resident_mb()),
            holds=tuple(target.collection for target in self._serving.targets()),
            problem=self._serving.store.problem(),
        )


def worker_id() -> str:
    """A name for this process among the workers."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"


def _resident_mb() -> float:
    """Memory of this process that is in RAM now, or its peak where the system tells only that."""
    try:
        with open("/proc/self/statm") as file:  # noqa: PTH123 - no file, a kernel interface
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 2**10)
