"""For whoever supervises the portal: its health, open without a token and therefore without a detail, and its metrics.

People and scripts that may know more ask /api/v1/health or `lookalike status`.
"""

from flask import Blueprint, Response
from flask.typing import ResponseReturnValue

from web.access import public, requires
from web.backend import client
from workers.client import Role

blueprint = Blueprint("probes", __name__)


@blueprint.get("/health/live")
@public
def live() -> ResponseReturnValue:
    """200 while this process answers requests."""
    return {"status": "alive"}


@blueprint.get("/health/ready")
@public
def ready() -> ResponseReturnValue:
    """200 while the queue can be reached; 503 otherwise.

    A missing worker does not make the portal unready: its pages then say so better than a refused connection would.
    """
    is_queue_there = bool(client().status().queues)
    return {"status": "ready"} if is_queue_there else ({"status": "not ready"}, 503, {"Retry-After": "5"})


@blueprint.get("/metrics")
@requires(Role.METRICS)
def metrics() -> ResponseReturnValue:
    """What Prometheus asks for; with a token, where tokens are needed."""
    return Response(client().metrics(), content_type="text/plain; version=0.0.4; charset=utf-8")
