"""Replies to requests: one short-lived list in Redis per request.

Celery's own results go through one shared subscription that threads of a portal must not wait on together; a blocking
pop of a list of one's own needs no sharing.
"""

import uuid
from collections.abc import Mapping
from typing import Any

import msgspec

from ml.errors import LookalikeError
from workers.messages import plain

_KEPT_S = 60
_ENCODER = msgspec.json.Encoder(enc_hook=plain)


def new_address() -> str:
    """Where a reply is to be sent."""
    return f"lookalike:reply:{uuid.uuid4().hex}"


def send(server: Any, address: str, result: Any = None, error: LookalikeError | None = None) -> None:
    """Replies to a request, once or again."""
    send_all(server, {address: result if error is None else error})


def send_all(server: Any, outcomes: Mapping[str, Any]) -> None:
    """Replies to several requests at once.

    Args:
        server: Redis.
        outcomes: address -> the result, plain JSON or a message, or a LookalikeError.
    """
    with server.pipeline(transaction=False) as pipe:
        for address, outcome in outcomes.items():
            pipe.rpush(address, _ENCODER.encode(_body(outcome)))
            pipe.expire(address, _KEPT_S)
        pipe.execute()


def _body(outcome: Any) -> dict[str, Any]:
    if not isinstance(outcome, LookalikeError):
        return {"result": outcome}
    return {
        "error": {
            "kind": type(outcome).__name__,
            "message": outcome.message,
            "hint": outcome.hint,
            "passes": outcome.passes,
        }
    }


def wait(server: Any, address: str, timeout_s: float) -> dict[str, Any] | None:
    """The reply, `result` or `error`; None when none came in time."""
    popped = server.blpop([address], timeout=max(0.05, timeout_s))
    if popped is None:
        return None
    reply: dict[str, Any] = msgspec.json.decode(popped[1])
    return reply
