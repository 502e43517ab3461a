"""The liveness probe of an orchestrator: `python -m workers.process.liveness_probe`.

Exit status 0 when the worker on this host had a heartbeat lately and canaries go through its queues; 1 and a line on
stderr when not. See workers.queue.liveness for why both are looked at.
"""

import socket
import sys
import time

from workers import settings as settings_module
from workers.queue.app import connect_redis
from workers.queue.liveness import canary_age_s, living_workers

_LONGEST_SILENCE_S = 120.0


def problem() -> str:
    """What is wrong; empty when nothing is."""
    server = connect_redis(settings_module.load())
    workers = [worker for worker in living_workers(server) if worker.host == socket.gethostname()]
    if not workers:
        return "no worker on this host had a heartbeat lately"
    worker = workers[0]
    for queue in worker.queues:
        age_s, canary_s = time.time() - worker.started_at, canary_age_s(server, queue)
        silent_s = age_s if canary_s is None else min(age_s, canary_s)
        if silent_s > _LONGEST_SILENCE_S:
            return f"no task of queue {queue} was finished for {silent_s:.0f} s"
    return ""


if __name__ == "__main__":
    if text := problem():
        sys.stderr.write(text + "\n")
        sys.exit(1)
