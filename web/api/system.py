"""What the system says of itself: labels in use, jobs, health."""

from typing import Any

from apiflask import APIBlueprint

from web.access import audit, is_admin, requires
from web.api.schemas.images import Folders, Labels
from web.api.schemas.jobs import Job, JobList
from web.api.schemas.labelling import Outliers, OutliersQuery, Proposals, ProposalsQuery
from web.api.schemas.system import Health
from web.backend import client
from workers.client import Role, retry

blueprint = APIBlueprint("system", __name__)


_UNHEALTHY: Any = {503: {"description": "Something is wrong", "content": {"application/json": {"schema": Health}}}}


@blueprint.get("/labels")
@requires(Role.VIEWER)
@blueprint.output(Labels)
@blueprint.doc(tags=["Gallery"])
def list_labels() -> Any:
    """List the labels in use"""
    return {"labels": [each.to_json() for each in client().labels()]}


@blueprint.get("/labels/outliers")
@requires(Role.VIEWER)
@blueprint.input(OutliersQuery, location="query", arg_name="asked")
@blueprint.output(Outliers)
@blueprint.doc(tags=["Gallery"])
def list_outliers(asked: dict[str, Any]) -> Any:
    """List images whose label may be wrong

    They are far from the other images of their label, or most of their neighbours have another one.
    """
    return client().labelling.outliers(asked["label"], asked["limit"]).to_json()


@blueprint.get("/unlabelled")
@requires(Role.VIEWER)
@blueprint.input(ProposalsQuery, location="query", arg_name="asked")
@blueprint.output(Proposals)
@blueprint.doc(tags=["Gallery"])
def list_unlabelled(asked: dict[str, Any]) -> Any:
    """List images without a label, in groups, each with a guess

    The newest of them. First come groups whose label teaches most: large, sure to belong together, and unlike what has
    one. `POST /api/v1/changes` gives a group its label.
    """
    return client().labelling.proposals(asked["limit"], skip=asked["skip"]).to_json()


@blueprint.get("/folders")
@requires(Role.VIEWER)
@blueprint.output(Folders)
@blueprint.doc(tags=["Gallery"])
def list_folders() -> Any:
    """List the folders that images came from"""
    return {"folders": [{"folder": folder, "count": count} for folder, count in client().folders().items()]}


@blueprint.get("/jobs")
@requires(Role.EDITOR)
@blueprint.output(JobList)
@blueprint.doc(tags=["System"])
def list_jobs() -> Any:
    """List the jobs that run or have ended lately

    Those that run first, then those that have ended within a week, the latest first; also what terminals started.
    """
    return {"jobs": [job.to_json() for job in (*client().running(), *client().ended_lately())]}


@blueprint.post("/jobs/<job_id>/stop")
@requires(Role.ADMIN)
@blueprint.output(Job, description="How it is now")
@blueprint.doc(tags=["System"])
def stop_job(job_id: str) -> Any:
    """Stop a job

    What it did stays. One that has ended stays as it is.
    """
    audit.changes("stop", [job_id])
    client().stop(job_id)
    return client().job(job_id).to_json()


@blueprint.post("/jobs/<job_id>/retry")
@requires(Role.ADMIN)
@blueprint.output(Job, 202, description="The new job")
@blueprint.doc(tags=["System"])
def retry_job(job_id: str) -> Any:
    """Do what a job has left undone

    Of a job that failed or was stopped. A training goes on after the epochs that it finished.
    """
    audit.changes("retry", [job_id])
    return client().job(retry(client(), job_id)).to_json()


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
