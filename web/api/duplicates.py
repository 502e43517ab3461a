"""/duplicates: copies of photos in the gallery, as a job finds them."""

from collections.abc import Sequence
from typing import Any

from apiflask import APIBlueprint
from werkzeug.exceptions import UnprocessableEntity

from web.access import audit, requires
from web.api.changes import change, made_later, told_change
from web.api.schemas.changes import Change
from web.api.schemas.duplicates import (
    MOST_APART,
    ApartForm,
    CopyGroups,
    Duplicates,
    DuplicatesForm,
    DuplicatesQuery,
    KeepForm,
)
from web.api.schemas.jobs import Job
from web.backend import client, image_id
from web.bodies import MANY_IDS, body_limit
from workers.client import Changed, NotFound, Role, copy_groups
from workers.messages import Pair

blueprint = APIBlueprint("duplicates", __name__)

GROUPS = 50  # in one answer


@blueprint.post("/duplicates")
@requires(Role.EDITOR)
@blueprint.input(DuplicatesForm, arg_name="asked")
@blueprint.output(Job, status_code=202, description="It looks, and can be followed")
@blueprint.doc(tags=["Gallery"])
def find_duplicates(asked: dict[str, Any]) -> Any:
    """Look for copies of photos

    One job does so at a time: while it runs, asking again with the same threshold leads to it.
    """
    audit.changes("look for duplicates")
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


@blueprint.get("/duplicates/groups")
@requires(Role.VIEWER)
@blueprint.output(CopyGroups)
@blueprint.doc(tags=["Gallery"])
def list_duplicate_groups() -> Any:
    """List the copies that were found last, as groups around the image that is worth keeping

    Each image of a group is a copy of its best one: no chains. The best has the most pixels, unless it is less sharp.
    """
    job = client().duplicates.latest()
    if job is None:
        return {"job": None, "state": None, "groups": [], "total": 0}
    groups, total = copy_groups(client(), job.job, GROUPS)
    return {"job": job.job, "state": job.state, "groups": [group.to_json() for group in groups], "total": total}


@blueprint.post("/duplicates/keep")
@requires(Role.EDITOR)
@body_limit(MANY_IDS)
@blueprint.input(KeepForm, arg_name="asked")
@blueprint.output(Change, description="Searches see the change")
@blueprint.doc(tags=["Gallery"], responses=made_later(Change))
def keep_one(asked: dict[str, Any]) -> Any:
    """Keep one image, and move copies of it to the trash

    Nothing is changed when the one to keep is no longer there. The `job` is what undoes the change.
    """
    return told_change(keep(asked["keep"], asked["ids"]))


@blueprint.put("/duplicates/apart")
@requires(Role.EDITOR)
@blueprint.input(ApartForm, arg_name="asked")
@blueprint.output({}, 204, description="It is remembered")
@blueprint.doc(tags=["Gallery"])
def keep_apart(asked: dict[str, Any]) -> Any:
    """Say that images are no duplicates of each other

    They are listed as copies no more, by their content. `apart` false takes that back. It says nothing of whether they
    show the same thing: that is what answers are for.
    """
    if asked["apart"]:
        set_apart(asked["ids"])
    else:
        ids = _few(asked["ids"])
        audit.changes("maybe duplicates", ids)
        client().duplicates.keep_apart(ids, are_apart=False)
    return ""


def keep(kept: str, ids: Sequence[str]) -> Changed:
    """Moves copies of an image to the trash, the image itself never. Pages and API share it.

    Raises:
        NotFound: the image to keep is not there. Nothing is changed.
    """
    client().image(image_id(kept))
    return change("delete", [id for id in ids if id != kept])


def set_apart(ids: Sequence[str]) -> str:
    """Notes that images are no duplicates of each other; returns what undoes it. Pages and API share it.

    Raises:
        UnprocessableEntity: they are more than can be noted in one request, or fewer than two.
    """
    ids = _few(ids)
    audit.changes("no duplicates", ids)
    return client().changes.keep_apart(ids)


def _few(ids: Sequence[str]) -> list[str]:
    few = list(dict.fromkeys(map(image_id, ids)))
    if not 2 <= len(few) <= MOST_APART:
        raise UnprocessableEntity(f"say so of 2 to {MOST_APART} photos at once, not {len(few)}")
    return few


def _is_there(pair: Pair) -> bool:
    try:
        return all(client().image(id) for id in (pair.id, pair.other_id))
    except NotFound:
        return False
