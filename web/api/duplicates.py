"""/duplicates: copies of photos in the gallery, as a job finds them."""

from typing import Any

from apiflask import APIBlueprint

from web.access import requires
from web.api.schemas import Duplicates, DuplicatesForm, DuplicatesQuery, Job
from web.backend import client
from workers.client import NotFound, Role
from workers.messages import Pair

blueprint = APIBlueprint("duplicates", __name__)


@blueprint.post("/duplicates")
@requires(Role.EDITOR)
@blueprint.input(DuplicatesForm, arg_name="asked")
@blueprint.output(Job, status_code=202, description="It looks, and can be followed")
@blueprint.doc(tags=["Gallery"])
def find_duplicates(asked: dict[str, Any]) -> Any:
    """Look for copies of photos"""
    return client().job(client().duplicates.start(asked["score_from"])).to_json()


@blueprint.get("/duplicates")
@requires(Role.VIEWER)
@blueprint.input(DuplicatesQuery, location="query", arg_name="asked")
@blueprint.output(Duplicates)
@blueprint.doc(tags=["Gallery"])
def list_duplicates(asked: dict[str, Any]) -> Any:
    """List the copies that were found last

    Pairs of images that are still in the gallery; more and more of them while the job runs.
    """
    job = client().duplicates.latest()
    if job is None:
        return {"job": None, "state": None, "done": 0, "pairs": []}
    pairs = [pair for pair in client().duplicates.pairs(job.job) if asked["tier"] in (None, pair.tier)]
    return {"job": job.job, "state": job.state, "done": job.done, "pairs": [p.to_json() for p in pairs if _is_there(p)]}


def _is_there(pair: Pair) -> bool:
    try:
        return all(client().image(id) for id in (pair.id, pair.other_id))
    except NotFound:
        return False
