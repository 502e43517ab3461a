"""A worker's heartbeat: every two seconds, and at once when that changes, it writes what it is and what it serves."""

import logging
import os
import socket
import sys
import threading
import time
import uuid
from typing import Any

import redis

from workers.messages import WorkerStatus
from workers.metrics import observe_model
from workers.process.serving import Serving, ServingModel
from workers.queue import liveness

logger = logging.getLogger(__name__)

INTERVAL_S = 2.0


class Heartbeat:
    """A thread that beats until it is closed. `worker` is the id of this process among the workers."""

    def __init__(self, server: Any, serving: Serving) -> None:
        self.worker = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._redis, self._serving = server, serving
        self._started_at = time.time()
        self._closed = threading.Event()
        self._in_turn = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Raises redis.RedisError when the first heartbeat cannot be written."""
        self.beat()
        self._thread.start()

    def close(self) -> None:
        """Stops, and says so: what this worker still claimed is due at once."""
        self._closed.set()
        self._serving.changed.set()
        self._thread.join()
        liveness.forget_worker(self._redis, self.worker)

    def beat(self) -> None:
        """Writes what this worker is and serves now. Who changed the collection calls it before saying so."""
        with self._in_turn:
            live = self._serving.active()
            observe_model(live.model, live.collection, live.embedder.device, live.embedder.precision)
            liveness.record_heartbeat(self._redis, self._status(live))

    def _run(self) -> None:
        while True:
            self._serving.changed.wait(INTERVAL_S)
            self._serving.changed.clear()
            if self._closed.is_set():
                return
            try:
                self.beat()
            except redis.RedisError as error:
                logger.warning("Redis does not answer: %s", error)
            except Exception:  # a worker without a heartbeat counts as dead, though it works
                logger.exception("the heartbeat failed")

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
            images=self._serving.store.count(live.collection),
            age_s=0.0,
            started_at=self._started_at,
            rss_mb=round(_resident_mb()),
            holds=tuple(target.collection for target in self._serving.targets()),
        )


def _resident_mb() -> float:
    """Memory of this process that is in RAM now, or its peak where the system tells only that."""
    try:
        with open("/proc/self/statm") as file:  # noqa: PTH123 - no file, a kernel interface
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 2**10)
