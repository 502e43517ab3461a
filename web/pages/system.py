"""Pages on what the system is doing: one job's progress, and the state of the whole."""

from flask import Blueprint, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from web.access import audit, requires
from web.backend import client
from workers.client import Role

blueprint = Blueprint("system", __name__)

_UNITS = {"train": "epochs", "sweep": "trials"}  # what a job counts; the others: photos


@blueprint.get("/jobs/<job_id>")
@requires(Role.EDITOR)
def job(job_id: str) -> ResponseReturnValue:
    """How far a job is, and which files it had to leave out."""
    found = client().job(job_id)
    active = client().active() if found.is_finished else None  # a running job's page is read again every second
    return render_template("job.html", job=found, units=_UNITS, active=active)


@blueprint.post("/jobs/<job_id>/stop")
@requires(Role.ADMIN)
def stop(job_id: str) -> ResponseReturnValue:
    """Ends a job; what it did stays."""
    audit.changes("stop", [job_id])
    client().stop(job_id)
    return redirect(url_for("system.job", job_id=job_id))


@blueprint.get("/status")
@requires(Role.VIEWER)
def status() -> ResponseReturnValue:
    """For operators: workers, queues, and in words what is wrong and what to do."""
    return render_template("status.html", status=client().status())
