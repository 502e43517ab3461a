"""Request and reply over the queue: calls whichever worker is free, and waits for what it returns.

The worker's side is in workers.tasks.handlers; both meet in workers.queue.replies, for searches in
workers.queue.questions, too.
"""

import time
from collections.abc import Callable
from typing import Any

from ml.errors import LookalikeError
from ml.images import BadBox, UnreadableImage
from ml.records import Damaged
from ml.storage import StorageFailed
from workers import logs
from workers.client.connection import QueueConnection
from workers.client.outage import Lookout
from workers.errors import NotFound, Overloaded, Unavailable
from workers.queue import replies
from workers.queue.app import LONGEST_SEARCH_QUEUE
from workers.queue.liveness import server_time
from workers.queue.questions import Question, Questions

_LOST_S = 5.0  # a request that no queue holds any more by then was lost with its worker

_ERRORS: dict[str, type[LookalikeError]] = {
    cls.__name__: cls for cls in (UnreadableImage, BadBox, NotFound, Damaged, StorageFailed, Unavailable, Overloaded)
}


class RpcClient:
    """Calls over one queue. Safe to use from many threads."""

    def __init__(self, connection: QueueConnection, lookout: Lookout | None = None) -> None:
        self._connection = connection
        self._redis = connection.redis
        self._questions = Questions(connection.redis)
        self._lookout = lookout or Lookout(connection)

    def call(self, task: str, request: dict[str, Any], timeout_s: float) -> Any:
        """What some worker returns.

        Args:
            task: name of a task that takes (request, reply_to, sent_at, timeout_s) and changes nothing.
            request: its arguments, plain JSON.
            timeout_s: how long the caller waits.

        Raises:
            Overloaded: too many requests are waiting.
            Unavailable: no worker answers in time, or the queue or the vector store does not.
            LookalikeError: what the worker found wrong.
        """

        def send(address: str) -> None:
            headers = {"request": logs.request_id()}
            # No `expires` of Celery's: it is a time by this machine's clock.
            arguments = (request, address, server_time(self._redis), timeout_s)
            self._connection.app.send_task(task, arguments, queue="search", headers=headers)

        def is_waiting() -> bool:
            return bool(self._redis.llen("search"))

        with self._connection.errors_reported():
            if self._redis.llen("search") > LONGEST_SEARCH_QUEUE:
                raise _overloaded()
            return _result(self._reply(send, is_waiting, timeout_s))

    def search(self, request: dict[str, Any], timeout_s: float) -> Any:
        """What a search finds. See workers.queue.questions for how it travels; otherwise as `call`."""

        def nudge() -> None:
            self._connection.app.send_task("answer_searches", queue="search")

        def ask(address: str) -> None:
            needs_nudge = self._questions.ask(Question(request, address, timeout_s, logs.request_id() or None))
            if needs_nudge is None:
                raise _overloaded()
            if needs_nudge:
                nudge()

        def is_waiting() -> bool:
            if self._questions.wants_nudge():  # the one that was sent got lost
                nudge()
            return self._questions.waiting() > 0

        with self._connection.errors_reported():
            return _result(self._reply(ask, is_waiting, timeout_s))

    def _reply(
        self,
        send: Callable[[str], None],
        is_waiting: Callable[[], bool],
        timeout_s: float,
    ) -> dict[str, Any]:
        """Sends a request and waits for its reply; `is_waiting` tells whether it may still be taken."""
        address = replies.new_address()
        send(address)
        started = time.monotonic()
        was_sent_again = False
        while (left_s := timeout_s - (time.monotonic() - started)) > 0:
            if reply := replies.wait(self._redis, address, min(left_s, self._connection.block_s)):
                return reply
            waited_s = time.monotonic() - started
            if waited_s > self._lookout.patience_s:
                self._lookout.raise_if_nobody_works()
            # Requests change nothing, so one that got lost with its worker is simply sent again.
            if not is_waiting() and waited_s > _LOST_S and not was_sent_again:
                send(address)
                was_sent_again = True
        raise Unavailable(
            f"no answer within {timeout_s:.0f} s", hint="see `lookalike status`; add workers if queues are long"
        )


def _overloaded() -> Overloaded:
    return Overloaded("too many searches are waiting", hint="try again in a moment")


def _result(reply: dict[str, Any]) -> Any:
    if error := reply.get("error"):
        # Errors of the workers' own, such as a store that is away, are told by whether waiting helps.
        otherwise = Unavailable if error.get("passes") else LookalikeError
        raise _ERRORS.get(error["kind"], otherwise)(error["message"], hint=error["hint"])
    return reply["result"]
