"""Jobs: what runs and what has ended, whoever started it; one job's progress, stopping it, trying it again."""

from typing import Any

from flask import Blueprint, Response, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from web.access import audit, requires
from web.backend import client
from workers.client import NotFound, Role, can_retry, retry
from workers.messages import JobStatus

blueprint = Blueprint("jobs", __name__)

_UNITS = {"train": "epochs", "sweep": "trials", "duplicates": "parts"}  # what a job counts; the others: photos
_REPORT = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox"  # what ml/templates need


@blueprint.get("/jobs")
@requires(Role.EDITOR)
def page() -> ResponseReturnValue:
    """What runs, and what has ended within the last week."""
    return render_template("jobs.html", running=client().running(), ended=client().ended_lately(), **_facts())


@blueprint.get("/jobs/<job_id>")
@requires(Role.EDITOR)
def job(job_id: str) -> ResponseReturnValue:
    """How far a job is, and which files it had to leave out."""
    found = client().job(job_id)
    active = client().active() if found.is_finished else None  # a running job's page is read again every second
    return render_template("job.html", job=found, active=active, has_report=_has_report(found), **_facts())


@blueprint.post("/jobs/<job_id>/stop")
@requires(Role.ADMIN)
def stop(job_id: str) -> ResponseReturnValue:
    """Ends a job; what it did stays."""
    audit.changes("stop", [job_id])
    client().stop(job_id)
    return redirect(url_for("jobs.job", job_id=job_id))


@blueprint.post("/jobs/<job_id>/retry")
@requires(Role.ADMIN)
def try_again(job_id: str) -> ResponseReturnValue:
    """Does what a job that failed or was stopped has left undone."""
    audit.changes("retry", [job_id])
    again = retry(client(), job_id)
    flash("It goes on as a job of its own.")
    return redirect(url_for("jobs.job", job_id=again))


@blueprint.get("/jobs/<job_id>/report")
@requires(Role.EDITOR)
def report(job_id: str) -> ResponseReturnValue:
    """The report of a sweep, where it was written on this machine."""
    page = client().trainings.report(client().job(job_id))
    if page is None:
        raise NotFound("this job has no report on this machine", hint="it lies where the sweep ran")
    return Response(page, mimetype="text/html", headers={"Content-Security-Policy": _REPORT})


def _has_report(found: JobStatus) -> bool:
    return found.kind == "sweep" and client().trainings.report(found) is not None


def _facts() -> dict[str, Any]:
    return {"units": _UNITS, "can_retry": can_retry}
