"""The workers' side of the queue. Tasks are thin: they unpack, call the module that knows, and answer."""

import logging
import time
from collections.abc import Callable
from typing import Any

from celery.worker import state
from redis.client import NEVER_DECODE

from ml.errors import LookalikeError
from workers.metrics import FAILURES, TASK_SECONDS
from workers.queue import replies
from workers.queue.app import CHUNKS_PER_WORKER, enqueue_due_chunks
from workers.queue.liveness import count_living_workers, living_workers, record_canary, server_time
from workers.queue.locks import taken
from workers.queue.questions import Question
from workers.tasks import labelling
from workers.tasks.answer import Answering
from workers.tasks.browse import make_view, page_of
from workers.tasks.chunks import work
from workers.tasks.context import Context
from workers.tasks.publish import advance

logger = logging.getLogger(__name__)

CANARY_EXPIRES_S = 60.0
ADVANCE_EXPIRES_S = 4.0
_TURN_S = 30.0  # of one message; meanwhile the broker delivers it again, which changes nothing: see claim


def register(context: Context) -> None:
    """Makes this process able to run the tasks."""
    app = context.app

    def task(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
        # Shared tasks would go to every other application, too.
        decorator: Callable[[Callable[..., None]], Callable[..., None]] = app.task(name=name, shared=False)
        return decorator

    at_work: set[tuple[str, int]] = set()

    @task("canary")
    def canary(queue: str, sent_at: float) -> None:
        """Shows that tasks of a queue get done."""
        waited_s = max(0.0, server_time(context.redis) - sent_at)
        if waited_s > CANARY_EXPIRES_S:
            return
        TASK_SECONDS.labels("canary", "wait").observe(waited_s)
        record_canary(context.redis, queue, waited_s)

    answering = Answering(context)

    @task("answer_searches")
    def answer_searches() -> None:
        """Ranks the gallery for all photos and images that wait for it."""
        answering.attend()

    @task("search")
    def search_task(request: dict[str, Any], reply_to: str, sent_at: float, timeout_s: float) -> None:
        """The same for one that a portal of version 0.1 asks: while the system is upgraded workers come first."""
        photo, id = request.pop("photo"), request.pop("id")
        image = context.redis.execute_command("GET", photo, **{NEVER_DECODE: True}) if photo else None
        if photo is None or image is not None:  # otherwise it waited longer than whoever sent it
            waited_s = max(0.0, server_time(context.redis) - sent_at)
            question = Question({"like": [{"image": image, "id": id}], **request}, reply_to, timeout_s)
            answering.answer([(question, waited_s)])

    @task("browse")
    def browse_task(request: dict[str, Any], reply_to: str, sent_at: float, timeout_s: float) -> None:
        """Lists images of the gallery."""
        _reply(context, reply_to, lambda: page_of(context.serving, **request).to_json())

    @task("make_view")
    def view_task(request: dict[str, Any], reply_to: str, sent_at: float, timeout_s: float) -> None:
        """Makes a large copy of an image."""
        _reply(context, reply_to, lambda: make_view(context.serving, **request))

    @task("folders")
    def folders_task(request: dict[str, Any], reply_to: str, sent_at: float, timeout_s: float) -> None:
        """Counts images by folder."""
        _reply(context, reply_to, lambda: context.serving.store.folders(context.serving.active().collection))

    @task("labels")
    def labels_task(request: dict[str, Any], reply_to: str, sent_at: float, timeout_s: float) -> None:
        """Counts images by label."""
        _reply(context, reply_to, lambda: context.serving.store.labels(context.serving.active().collection))

    @task("proposals")
    def proposals_task(request: dict[str, Any], reply_to: str, sent_at: float, timeout_s: float) -> None:
        """Guesses labels."""
        _reply(context, reply_to, lambda: labelling.proposals(context.serving, **request).to_json())

    @task("outliers")
    def outliers_task(request: dict[str, Any], reply_to: str, sent_at: float, timeout_s: float) -> None:
        """Finds what a label may be wrong for."""
        _reply(context, reply_to, lambda: labelling.outliers(context.serving, **request).to_json())

    @task("work_on_chunk")
    def work_on_chunk(job: str, number: int) -> None:
        """Brings one chunk of images in line, then for a while the next. Safe to run twice: ids come from content.

        A message goes to any worker, also to one that has its hands full while another has none. One that has just
        finished knows that it has room; with more chunks than its share it leaves the next one to the others.
        """
        until = time.monotonic() + _TURN_S
        numbers = [number]
        while numbers and (chunk := context.jobs.claim(job, numbers[0], context.worker)) is not None:
            began = time.monotonic()
            at_work.add((job, chunk.number))
            try:
                work(context, chunk)
            finally:
                at_work.discard((job, chunk.number))
            now = time.monotonic()
            has_time = now + (now - began) < until and state.should_stop is None
            has_room = has_time and len(at_work) < CHUNKS_PER_WORKER
            workers = count_living_workers(context.redis)
            numbers = enqueue_due_chunks(app, context.jobs, job, workers, keep=int(has_room))

    @task("advance_publish")
    def advance_publish(job: str, sent_at: float) -> None:
        """Takes the steps of a publish job that are due; not when it waited until the next message was sent."""
        if server_time(context.redis) - sent_at > ADVANCE_EXPIRES_S:
            return
        with taken(context.redis, f"lookalike:advancing:{job}") as is_ours:
            while is_ours() and job in context.jobs.running():
                if not advance(context.serving, context.jobs, living_workers(context.redis), job):
                    return


def _reply(context: Context, reply_to: str, compute: Callable[[], Any]) -> None:
    """Replies with what was computed, or with what was wrong."""
    try:
        replies.send(context.redis, reply_to, compute())
    except LookalikeError as error:
        FAILURES.labels(type(error).__name__).inc()
        logger.info("request failed: %s", error.message)
        replies.send(context.redis, reply_to, error=error)
    except Exception as error:
        FAILURES.labels(type(error).__name__).inc()
        sorry = LookalikeError("the worker failed to answer", hint="its log has the details; try again")
        replies.send(context.redis, reply_to, error=sorry)
        raise
