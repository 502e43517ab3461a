"""Request and reply over the queue: calls whichever worker is free, and waits for what it returns.

The worker's side is in workers.tasks.handlers; both meet in workers.queue.replies.
"""

import time
from typing import Any

from ml.errors import LookalikeError
from ml.images import BadBox, UnreadableImage
from ml.records import Damaged
from ml.storage import StorageFailed
from workers import logs
from workers.client.connection import QueueConnection, advice
from workers.errors import NotFound, Overloaded, Unavailable
from workers.queue import replies
from workers.queue.app import LONGEST_SEARCH_QUEUE
from workers.queue.liveness import living_workers, server_time, waiting_reasons

_PATIENCE_S = 10.0  # a worker may be starting; then its absence is reported
_LOST_S = 5.0  # a request that no queue holds any more by then was lost with its worker

_ERRORS: dict[str, type[LookalikeError]] = {
    cls.__name__: cls for cls in (UnreadableImage, BadBox, NotFound, Damaged, StorageFailed, Unavailable, Overloaded)
}


class RpcClient:
    """Calls over one queue. Safe to use from many threads."""

    def __init__(self, connection: QueueConnection) -> None:
        self._connection = connection
        self._redis = connection.redis

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
        with self._connection.errors_reported():
            if self._redis.llen("search") > LONGEST_SEARCH_QUEUE:
                raise Overloaded("too many searches are waiting", hint="try again in a moment")
            reply = self._reply(task, request, timeout_s)
        if error := reply.get("error"):
            # Errors of the workers' own, such as a store that is away, are told by whether waiting helps.
            otherwise = Unavailable if error.get("passes") else LookalikeError
            raise _ERRORS.get(error["kind"], otherwise)(error["message"], hint=error["hint"])
        return reply["result"]

    def _reply(self, task: str, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        address = replies.new_address()
        self._send(task, request, address, timeout_s)
        started = time.monotonic()
        was_sent_again = False
        while (left_s := timeout_s - (time.monotonic() - started)) > 0:
            if reply := replies.wait(self._redis, address, min(left_s, self._connection.block_s)):
                return reply
            waited_s = time.monotonic() - started
            if waited_s > _PATIENCE_S:
                self._raise_if_nobody_works()
            # Requests change nothing, so one that got lost with its worker is simply sent again.
            if waited_s > _LOST_S and not was_sent_again and not self._redis.llen("search"):
                self._send(task, request, address, timeout_s)
                was_sent_again = True
        raise Unavailable(
            f"no answer within {timeout_s:.0f} s", hint="see `lookalike status`; add workers if queues are long"
        )

    def _raise_if_nobody_works(self) -> None:
        """Raises Unavailable when there is no worker, or when every one of them waits for something."""
        workers = living_workers(self._redis)
        reasons = [worker.problem for worker in workers] or waiting_reasons(self._redis)
        if not workers and not reasons:
            raise Unavailable("no worker is running", hint=advice(self._connection.settings.home, "worker"))
        if all(reasons):
            raise Unavailable(reasons[-1], hint="workers go on by themselves when that is back")

    def _send(self, task: str, request: dict[str, Any], address: str, timeout_s: float) -> None:
        headers = {"request": logs.request_id()}
        # No `expires` of Celery's: it is a time by this machine's clock.
        arguments = (request, address, server_time(self._redis), timeout_s)
        self._connection.app.send_task(task, arguments, queue="search", headers=headers)
