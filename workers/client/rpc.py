"""Questions to whichever worker is free, and waiting for the answer: the asker's side of workers.queue.replies."""

import time
from typing import Any

from celery import Celery

from ml.errors import LookalikeError
from ml.images import UnreadableImage
from ml.storage import StorageFailed
from workers import logs
from workers.client.status import LONGEST_QUEUE
from workers.errors import Overloaded, Unavailable
from workers.gallery import NotFound
from workers.queue import replies
from workers.queue.app import living_workers

_PATIENCE_S = 10.0  # a worker may be starting; then its absence is reported
_LOST_S = 5.0  # a question that no queue holds any more by then was lost with its worker

_ERRORS: dict[str, type[LookalikeError]] = {
    cls.__name__: cls for cls in (UnreadableImage, NotFound, StorageFailed, Unavailable)
}


class Asker:
    """Asks over one queue. Safe to use from many threads."""

    def __init__(self, app: Celery, server: Any) -> None:
        self._app, self._redis = app, server

    def ask(self, task: str, question: dict[str, Any], timeout_s: float) -> Any:
        """The answer of some worker.

        Raises:
            Overloaded: too many questions are waiting.
            Unavailable: no worker answers in time.
            LookalikeError: what the worker found wrong.
        """
        if self._redis.llen("search") > LONGEST_QUEUE:
            raise Overloaded("too many searches are waiting", hint="try again in a moment")
        body = self._answer(task, question, timeout_s)
        if error := body.get("error"):
            raise _ERRORS.get(error["kind"], LookalikeError)(error["message"], hint=error["hint"])
        return body["answer"]

    def _answer(self, task: str, question: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        address = replies.new_address()
        self._send(task, question, address, timeout_s)
        started = time.monotonic()
        sent_again = False
        while (left := timeout_s - (time.monotonic() - started)) > 0:
            if body := replies.wait(self._redis, address, min(left, 2.0)):
                return body
            waited = time.monotonic() - started
            if waited > _PATIENCE_S and not living_workers(self._redis):
                raise Unavailable("no worker is running", hint="start one with: lookalike worker")
            # Questions change nothing, so one that got lost with its worker is simply asked again.
            if waited > _LOST_S and not sent_again and not self._redis.llen("search"):
                self._send(task, question, address, timeout_s)
                sent_again = True
        raise Unavailable(
            f"no answer within {timeout_s:.0f} s", hint="see `lookalike status`; add workers if queues are long"
        )

    def _send(self, task: str, question: dict[str, Any], address: str, timeout_s: float) -> None:
        headers = {"request": logs.request_id()}
        self._app.send_task(task, (question, address, time.time()), queue="search", expires=timeout_s, headers=headers)
