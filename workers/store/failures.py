"""What a Qdrant server's errors mean, over gRPC and HTTP alike: whether waiting may be enough, and what is told."""

import grpc
import httpx
from qdrant_client.http.exceptions import UnexpectedResponse

# Beside what says that a server is away: what one says of requests that it drops while it stops or begins.
_PASSING = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,
)


def passes(error: Exception) -> bool:
    """Whether waiting may be enough."""
    if isinstance(error, UnexpectedResponse):
        return error.status_code is None or error.status_code >= 500 or error.status_code == 429
    if isinstance(error, grpc.RpcError):
        return isinstance(error, grpc.Call) and error.code() in _PASSING
    return True


def is_silence(error: Exception) -> bool:
    """Whether the server took a call and left it unanswered."""
    if isinstance(error, grpc.Call):
        return bool(error.code() == grpc.StatusCode.DEADLINE_EXCEEDED)
    return isinstance(getattr(error, "source", error), httpx.TimeoutException)


def described(error: Exception) -> str:
    """What the server says, in one line."""
    if isinstance(error, grpc.Call):
        return f"{error.details()} ({error.code().name})"
    if isinstance(error, UnexpectedResponse):
        return f"{error.status_code} {error.reason_phrase}"
    return str(error)
