"""What the system says of itself: labels in use, jobs, health."""

from typing import Any

from apiflask import APIBlueprint

from web.access import is_admin, requires
from web.api.schemas import Folders, Health, Job, Labels
from web.backend import client
from workers.client import Role

blueprint = APIBlueprint("system", __name__)


_UNHEALTHY: Any = {503: {"description": "Something is wrong", "content": {"application/json": {"schema": Health}}}}


@blueprint.get("/labels")
@requires(Role.VIEWER)
@blueprint.output(Labels)
@blueprint.doc(tags=["Gallery"])
def list_labels() -> Any:
    """List the labels in use"""
    return {"labels": [each.to_json() for each in client().labels()]}


@blueprint.get("/folders")
@requires(Role.VIEWER)
@blueprint.output(Folders)
@blueprint.doc(tags=["Gallery"])
def list_folders() -> Any:
    """List the folders that images came from"""
    return {"folders": [{"folder": folder, "count": count} for folder, count in client().folders().items()]}


@blueprint.get("/jobs/<job_id>")
@requires(Role.EDITOR)
@blueprint.output(Job)
@blueprint.doc(tags=["System"])
def get_job(job_id: str) -> Any:
    """Show how far a job is"""
    return client().job(job_id).to_json()


@blueprint.get("/health")
@requires(Role.VIEWER)
@blueprint.output(Health)
@blueprint.doc(
    tags=["System"],
    responses=_UNHEALTHY,
)
def get_health() -> Any:
    """Show how the whole system is

    The status is 503 when something is wrong, with the same body, whose `problems` say what.
    """
    status = client().status()
    settings = status.settings if is_admin() else {}
    return status.to_json() | {"settings": settings}, 200 if status.healthy else 503
