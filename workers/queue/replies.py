"""Replies to requests: one short-lived list in Redis per request.

Celery's own results go through one shared subscription that threads of a portal must not wait on together; a blocking
pop of a list of one's own needs no sharing.
"""

import json
import uuid
from typing import Any

from ml.errors import LookalikeError

_KEPT_S = 60


def new_address() -> str:
    """Where a reply is to be sent."""
    return f"lookalike:reply:{uuid.uuid4().hex}"


def send(server: Any, address: str, result: Any = None, error: LookalikeError | None = None) -> None:
    """Replies to a request, once or again."""
    body: dict[str, Any] = {"result": result}
    if error is not None:
        told = {"kind": type(error).__name__, "message": error.message, "hint": error.hint, "passes": error.passes}
        body = {"error": told}
    with server.pipeline() as pipe:
        pipe.rpush(address, json.dumps(body))
        pipe.expire(address, _KEPT_S)
        pipe.execute()


def wait(server: Any, address: str, timeout_s: float) -> dict[str, Any] | None:
    """The reply, `result` or `error`; None when none came in time."""
    popped = server.blpop([address], timeout=max(0.05, timeout_s))
    if popped is None:
        return None
    reply: dict[str, Any] = json.loads(popped[1])
    return reply
