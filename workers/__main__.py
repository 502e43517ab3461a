"""A worker process: `python -m workers`, or `lookalike worker`. Its settings come from the environment.

While what it needs is away it waits: see workers.process.waiting. Exit status 1 with one line on stderr when it cannot
start, say because another worker owns the embedded store.
"""

import logging
import sys

from ml import cores
from workers.process.allocator import limit_arenas

limit_arenas()  # before the imports below start threads
cores.limit_blas(openblas=1)  # before they load NumPy

from celery.signals import setup_logging

from ml.errors import LookalikeError
from ml.storage import open_storage
from workers import logs, metrics
from workers import settings as settings_module
from workers.life_sign import LifeSign
from workers.process.heartbeat import Heartbeat, worker_id
from workers.process.serving import Serving
from workers.process.waiting import Waiting
from workers.queue.app import connect_redis, make_app
from workers.queue.damage import DamageNotes
from workers.queue.jobs import Jobs
from workers.queue.liveness import forget_all_workers
from workers.queue.locks import SharedLocks
from workers.settings import BadSettings, Settings
from workers.store import open_store

logger = logging.getLogger(__name__)


def main() -> int:
    """Runs a worker until it is told to stop. Returns the exit status."""
    try:
        return run(settings_module.load())
    except LookalikeError as error:
        sys.stderr.write(f"lookalike worker: {error}\n")
        return 1


def run(settings: Settings) -> int:
    """Opens the store, loads the model, then takes tasks until SIGTERM or SIGINT; finishes those it has begun."""
    from workers.tasks.context import Context
    from workers.tasks.handlers import register
    from workers.tasks.housekeeping import Housekeeping, reconcile_again

    logs.configure(settings)
    setup_logging.connect(_leave_logging_alone)
    # A search hands the interpreter on a dozen times. With Python's 5 ms each of these waits for indexing's threads.
    sys.setswitchinterval(0.0005)
    if not settings.redis_url:
        raise BadSettings("LOOKALIKE_REDIS_URL is not set", hint="`lookalike up` starts a queue and a worker together")
    life_sign = LifeSign(settings.home)
    waiting = Waiting(settings, worker := worker_id())
    waiting.until_queue_answers()
    server = connect_redis(settings, name=worker)
    damage = DamageNotes(server)
    waiting.until(lambda: open_storage(settings.models_url).exists("active.json"))
    store = waiting.until(lambda: open_store(settings, damage))
    serving = Serving(settings, damage, store, SharedLocks(server).hold)
    app = make_app(settings)
    heartbeat = Heartbeat(server, serving, life_sign, worker)
    context = Context(app, server, Jobs(server), serving, heartbeat)
    register(context)
    if settings.is_embedded_qdrant:  # whoever owns the embedded store knows that there is no other worker
        forget_all_workers(server)
        reconcile_again(server)
    heartbeat.start()
    housekeeping = Housekeeping(context)
    housekeeping.start()
    if settings.metrics_port:
        metrics.serve(settings.metrics_port, server)
    live = serving.active()
    logger.info("serving %s from %s on %s", live.model, live.collection, live.embedder.why)
    try:
        worker = app.Worker(
            pool="threads",
            concurrency=settings.concurrency,
            queues=list(settings.queues),
            hostname=f"lookalike@{context.worker}",
            loglevel=settings.log_level.upper(),
            quiet=True,  # no banner: it is no line of a log
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        )
        worker.start()
        return int(worker.exitcode or 0)
    finally:
        housekeeping.close()
        heartbeat.close()
        serving.close()
        life_sign.close()


def _leave_logging_alone(**_: object) -> None:
    """Being connected is what tells Celery that logging is set up: its lines are like all others."""


if __name__ == "__main__":
    sys.exit(main())
