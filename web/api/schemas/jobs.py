"""Long work and how far it is."""

from apiflask.fields import Dict, Float, Integer, List, Nested, String
from apiflask.validators import OneOf

from web.api.fields import note
from web.api.schemas.base import Answer

STATES = ("running", "done", "failed", "stopped")
KINDS = (
    "index",
    "label",
    "delete",
    "undelete",
    "verify",
    "reconcile",
    "duplicates",
    "train",
    "sweep",
    "publish",
    "tune",
    "backup",
    "restore",
    "migrate",
)


class Failure(Answer):
    path = String(metadata=note("the file that was left out", "notes.txt"))
    reason = String(metadata=note("why"))


class Job(Answer):
    job = String(metadata=note("the job's id"))
    kind = String(validate=OneOf(KINDS), metadata=note("what it does", "index"))
    state = String(validate=OneOf(STATES), metadata=note("how it is", "running"))
    total = Integer(metadata=note("items to do", 128))
    done = Integer(metadata=note("items finished, failed ones included", 64))
    added = Integer(metadata=note("new ones", 60))
    updated = Integer(metadata=note("known ones with a new label", 0))
    unchanged = Integer(metadata=note("known ones", 3))
    removed = Integer(metadata=note("deleted ones", 0))
    failed = Integer(metadata=note("left out, see failures", 1))
    seconds = Float(metadata=note("since it began"))
    ended_at = Float(allow_none=True, metadata=note("seconds since 1970, null while it runs"))
    failures = List(Nested(Failure), metadata=note("the first 1,000"))
    detail = Dict(keys=String(), metadata=note("what this kind of job has to tell besides"))


class ListedJob(Job):
    """The same, under another name in lists, as ListedImage."""


class JobList(Answer):
    jobs = List(Nested(ListedJob))
