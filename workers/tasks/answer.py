"""Answers the searches that wait: what a nudge makes a worker do."""

import dataclasses
import logging
import threading
import time
from collections.abc import Sequence

from celery.worker import state

from ml.errors import LookalikeError
from workers import logs
from workers.messages import SearchResult
from workers.metrics import FAILURES, TASK_SECONDS
from workers.process.slow_searches import Later
from workers.queue import replies
from workers.queue.questions import Question, Questions
from workers.tasks.context import Context
from workers.tasks.search import Outcome, Request, search

logger = logging.getLogger(__name__)

_MOST = 16  # answered together
_AT_ONCE = 2  # one batch is decoded while another is embedded
_THREADS_EACH = 4  # of the worker's, for one that listens: the others stay free for other tasks
_LISTEN_S = 0.4  # longest wait in one command
_LISTENS_S = 2.0  # after the last answer, while others of this worker listen, too
_TURN_S = 10.0  # of one nudge: less than after which the broker delivers it again, which would do no harm
_SLOT_S = 1.0

Waiting = tuple[Question, float]  # and for how many seconds it has waited


class Answering:
    """All of it in one worker process. Safe to use from many threads."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._questions = Questions(context.redis)
        threads = context.serving.settings.concurrency
        self._slots = threading.BoundedSemaphore(max(1, min(_AT_ONCE, threads // _THREADS_EACH)))
        self._may_listen = threads >= _THREADS_EACH
        self._guard = threading.Lock()
        self._listening = 0

    def attend(self) -> None:
        """Answers all who wait, then listens for others: for the rest of its turn, and in a next one after it.

        That goes on for minutes after a search: the next one needs no message of the broker, and is answered
        milliseconds sooner.
        """
        if not self._slots.acquire(timeout=_SLOT_S):
            return  # those at work look again when they are done
        try:
            has_heard, is_last = self._take_turn()
        finally:
            self._slots.release()
        if has_heard:
            self._questions.note_asked()
        if is_last and self._questions.leave(to_go_on=self._may_listen and state.should_stop is None):
            self._context.app.send_task("answer_searches", queue="search")

    def _take_turn(self) -> tuple[bool, bool]:
        """Whether anybody asked meanwhile, and whether nobody else of this worker listens now."""
        with self._guard:
            self._listening += 1
        until, heard_at = time.monotonic() + _TURN_S, 0.0
        try:
            while (now := time.monotonic()) < until and state.should_stop is None:
                if taken := self._questions.take(_MOST, _LISTEN_S if self._may_listen else 0.001):
                    self.answer(taken)
                    heard_at = time.monotonic()
                elif not self._may_listen or (self._listening > 1 and now - heard_at > _LISTENS_S):
                    break
        finally:
            with self._guard:
                self._listening -= 1
                is_last = not self._listening
        return heard_at > 0, is_last

    def answer(self, taken: Sequence[Waiting]) -> None:
        """Answers these, each as soon as its answer is known."""
        waiting = []
        for question, waited_s in taken:
            if waited_s <= question.timeout_s:  # otherwise nobody waits any more
                waiting.append((question, waited_s, Request.of(question.request)))
        with self._context.serving.batcher.searching():
            for outcomes in search(self._context.serving, [request for _, _, request in waiting]):
                self._reply([(*waiting[position][:2], outcome) for position, outcome in outcomes.items()])

    def _reply(self, outcomes: Sequence[tuple[Question, float, Outcome]]) -> None:
        replied: dict[str, SearchResult | LookalikeError] = {}
        for question, waited_s, outcome in outcomes:
            with logs.request(question.request_id):
                if isinstance(outcome, Later):
                    try:
                        self._answer_later(question, waited_s, outcome)
                        continue
                    except LookalikeError as error:
                        outcome = error
                replied[question.reply_to] = _told(outcome, waited_s)
        if replied:
            replies.send_all(self._context.redis, replied)

    def _answer_later(self, question: Question, waited_s: float, later: Later) -> None:
        """Other searches need this thread. Who gets no reply asks again. Raises Overloaded."""

        def finish() -> None:
            with logs.request(question.request_id):
                try:
                    outcome: SearchResult | LookalikeError = later.finish()
                except LookalikeError as error:
                    outcome = error
                replies.send_all(self._context.redis, {question.reply_to: _told(outcome, waited_s)})

        expires_s = question.timeout_s - waited_s
        self._context.serving.slow_searches.submit(question.reply_to, later.size, expires_s, finish)


def _told(outcome: SearchResult | LookalikeError, waited_s: float) -> SearchResult | LookalikeError:
    """What is replied: an answer says how long it took. Counts either."""
    if isinstance(outcome, LookalikeError):
        FAILURES.labels(type(outcome).__name__).inc()
        logger.info("request failed: %s", outcome.message)
        return outcome
    timings = {"wait": round(1000 * waited_s, 2), **outcome.timings_ms}
    for stage, spent_ms in timings.items():
        TASK_SECONDS.labels("search", stage).observe(spent_ms / 1000)
    return dataclasses.replace(outcome, timings_ms=timings)
