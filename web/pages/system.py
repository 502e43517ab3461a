"""The page on how the whole system is."""

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from web.access import requires
from web.backend import client
from workers.client import Role

blueprint = Blueprint("system", __name__)


@blueprint.get("/status")
@requires(Role.VIEWER)
def status() -> ResponseReturnValue:
    """For operators: workers, queues, and in words what is wrong and what to do."""
    return render_template("status.html", status=client().status())
