"""Trying again what a job that has ended was to do."""

import dataclasses

from workers.client.api import Client
from workers.errors import Busy, Refused
from workers.messages import JobStatus, SweepRequest, TrainRequest

# Jobs that bring collections in line with the gallery: what one of them left undone, a quick repair does.
_FOLLOW_GALLERY = ("index", "label", "delete", "undelete", "reconcile")
RETRIED = (*_FOLLOW_GALLERY, "train", "sweep", "publish", "tune", "verify", "duplicates")


def can_retry(status: JobStatus) -> bool:
    """Whether `retry` has something to do: the job left something undone, and can be begun from here."""
    return status.state in ("failed", "stopped") and status.kind in RETRIED


def retry(client: Client, job: str) -> str:
    """Starts anew what a job was to do, or goes on where it stopped. Returns the new job's id.

    A training goes on after the epochs that it finished, a sweep after its trials. Of a job that was to bring searches
    in line with the gallery, whatever is left is done.

    Raises:
        NotFound: there is no such job.
        Busy: it has not ended.
        Refused: it reads files that only the command which started it can see.
    """
    status = client.job(job)
    if not status.is_finished:
        raise Busy(f"the job {job} has not ended", hint="stop it first, or wait for it")
    with client.connection.errors_reported():
        params = client.jobs.params(job)
    if status.kind == "train":
        return client.trainings.start(dataclasses.replace(TrainRequest.from_json(params), resume=True))
    if status.kind == "sweep":
        request = SweepRequest.from_json(params)
        return client.trainings.start(dataclasses.replace(request, resume=status.detail.get("sweep") or request.resume))
    if status.kind == "publish":
        # What was only to be looked at is prepared to be looked at again, and switches nothing.
        is_preview = bool(params.get("preview")) and not params.get("is_confirmed")
        return client.publish(params["model"], force=bool(params.get("force")), preview=is_preview)
    if status.kind == "tune":
        return client.tune(force=bool(params.get("force")))
    if status.kind == "duplicates":
        return client.duplicates.start(float(params["threshold"]))
    if status.kind == "verify":
        return client.verify(bool(params.get("repair")), quick=bool(params.get("quick")))
    if status.kind in _FOLLOW_GALLERY:
        return client.verify(repair=True, quick=True)
    raise Refused(f"a {status.kind} is begun again by the command that started it", hint="run that command again")
