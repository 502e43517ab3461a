"""Whether the worker on this host gets tasks done:

`python -m workers.process.liveness`, for an orchestrator's liveness probe.

Exit status 0 when it gave a sign of life lately and probes go through its queues, 1 and a line on stderr when not. A
worker can be alive and consume nothing (celery issue 10205), so that a process id alone says little.
"""

import json
import socket
import sys
import time

from workers import settings as settings_module
from workers.queue.app import canary_key, connect_redis, living

_LONGEST_SILENCE_S = 120.0


def complaint() -> str:
    """What is wrong; empty when nothing is."""
    server = connect_redis(settings_module.load())
    mine = [worker for worker in living(server) if worker.host == socket.gethostname()]
    if not mine:
        return "no worker on this host gave a sign of life lately"
    for queue in mine[0].queues:
        probe = server.get(canary_key(queue))
        last = max(json.loads(probe)["finished_at"] if probe else 0.0, mine[0].started_at)
        if time.time() - last > _LONGEST_SILENCE_S:
            return f"no task of queue {queue} was finished for {time.time() - last:.0f} s"
    return ""


if __name__ == "__main__":
    if problem := complaint():
        sys.stderr.write(problem + "\n")
        sys.exit(1)
