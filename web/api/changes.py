"""/changes and /trash: many images at once, undoing, and what was deleted. Pages and API share what is done."""

from collections.abc import Sequence
from typing import Any

from apiflask import APIBlueprint, Schema
from werkzeug.exceptions import UnprocessableEntity

from web.access import audit, requires
from web.api.schemas.changes import (
    Change,
    ChangeForm,
    LabelReplacement,
    Removed,
    RemoveForm,
    ReplacedLabel,
    Restored,
    RestoreForm,
    Trash,
    TrashQuery,
    Undone,
)
from web.api.uploads import tidy_label
from web.backend import client
from web.bodies import MANY_IDS, body_limit
from workers.client import Changed, NotFound, Role
from workers.messages import Skipped

blueprint = APIBlueprint("changes", __name__)

_NONE_THERE: dict[int, Any] = {404: "None of the images is in the trash"}


def change(action: str, ids: Sequence[str], label: str | None = None) -> Changed:
    """Labels, unlabels or deletes images, and waits until searches see it, while a worker runs. One that is gone costs
    only itself.

    Args:
        action: label, remove_label or delete.
        ids: of the images.
        label: the new one, for `label`.

    Raises:
        UnprocessableEntity: there is no such action, or a label is needed and none given.
    """
    if action not in ("label", "remove_label", "delete"):
        raise UnprocessableEntity("the action must be label, remove_label or delete")
    if action == "label" and not label:
        raise UnprocessableEntity("type the label to give, or choose to remove it")
    ids = list(dict.fromkeys(ids))
    audit.changes(action.replace("_", " "), ids, **({"label": label} if action == "label" else {}))
    return client().delete(ids) if action == "delete" else client().label(ids, label)


def told_change(done: Changed) -> tuple[dict[str, Any], int]:
    """A change as the API answers it, and with which status."""
    return {"job": done.job, "changed": list(done.ids), **told_skipped(done.skipped)}, made(done.is_followed)


def made(is_followed: bool) -> int:
    """The status of a change that is made: 200, or 202 while searches do not see it yet."""
    return 200 if is_followed else 202


def made_later(schema: type[Schema]) -> dict[int, Any]:
    """What a route that changes images documents of that 202, whose body is that of 200."""
    told = "Made; searches follow when the search engine is back, send nothing again"
    return {202: {"description": told, "content": {"application/json": {"schema": schema}}}}


def told_skipped(skipped: Sequence[Skipped]) -> dict[str, Any]:
    """What was left out and why. `missing`, its ids alone, is what there was first."""
    return {"missing": [each.id for each in skipped], "skipped": [each.to_json() for each in skipped]}


@blueprint.post("/changes")
@requires(Role.EDITOR)
@body_limit(MANY_IDS)
@blueprint.input(ChangeForm, arg_name="asked")
@blueprint.output(Change, description="Searches see the change")
@blueprint.doc(tags=["Gallery"], responses=made_later(Change))
def change_images(asked: dict[str, Any]) -> Any:
    """Label or delete many images

    Images that are no longer there stop nothing: `skipped` names them with the reason. The `job` undoes the change.
    """
    label = tidy_label(asked["label"]) if asked["action"] == "label" else None
    return told_change(change(asked["action"], asked["ids"], label))


@blueprint.post("/labels/replace")
@requires(Role.EDITOR)
@blueprint.input(LabelReplacement, arg_name="asked")
@blueprint.output(ReplacedLabel, description="Searches see the change")
@blueprint.doc(tags=["Gallery"], responses={404: "No image has the label"} | made_later(ReplacedLabel))
def replace_label(asked: dict[str, Any]) -> Any:
    """Rename, merge or remove a label

    Every image with the label gets another one, which merges the two where it is in use, or none. The `job` undoes it.
    """
    by = tidy_label(asked["by"])
    audit.changes("replace label", label=asked["label"], by=by)
    done = client().replace_label(asked["label"], by)
    return {"job": done.job, "changed": len(done.ids)}, made(done.is_followed)


@blueprint.post("/changes/<job_id>/undo")
@requires(Role.EDITOR)
@blueprint.output(Undone, description="Searches see it as it was")
@blueprint.doc(tags=["Gallery"], responses=made_later(Undone))
def undo_change(job_id: str) -> Any:
    """Undo a change

    For a day. Labels go back to what each was, deleted images come back; what was changed again since stays.
    """
    audit.changes("undo", [job_id])
    undone = client().undo(job_id)
    return {"restored": undone.total}, made(undone.is_finished)


@blueprint.get("/trash")
@requires(Role.VIEWER)
@blueprint.input(TrashQuery, location="query", arg_name="asked")
@blueprint.output(Trash)
@blueprint.doc(tags=["Gallery"])
def list_trash(asked: dict[str, Any]) -> Any:
    """List deleted images, the latest first

    Each can be restored until it expires; then it is removed for good.
    """
    images, total = client().changes.trashed(asked["limit"])
    return {"images": [image.to_json() for image in images], "total": total}


@blueprint.post("/trash/restore")
@requires(Role.EDITOR)
@body_limit(MANY_IDS)
@blueprint.input(RestoreForm, arg_name="asked")
@blueprint.output(Restored, description="They are searchable again")
@blueprint.doc(tags=["Gallery"], responses=_NONE_THERE | made_later(Restored))
def restore_images(asked: dict[str, Any]) -> Any:
    """Restore deleted images

    Those that are not in the trash stop nothing: `skipped` names them with the reason.
    """
    audit.changes("restore", asked["ids"])
    done = some_of(client().restore(asked["ids"]))
    return {"restored": len(done.ids), **told_skipped(done.skipped)}, made(done.is_followed)


@blueprint.post("/trash/empty")
@requires(Role.EDITOR)
@body_limit(MANY_IDS)
@blueprint.input(RemoveForm, arg_name="asked")
@blueprint.output(Removed, description="They are gone for good")
@blueprint.doc(tags=["Gallery"], responses=_NONE_THERE)
def empty_trash(asked: dict[str, Any]) -> Any:
    """Remove deleted images for good

    Those named in `ids`, or all of them. Nothing brings them back. Those that are not in the trash stop nothing:
    `skipped` names them with the reason.
    """
    ids = asked["ids"]
    audit.changes("empty the trash", ids or ())
    done = client().changes.empty_trash(ids)
    if ids is not None:
        some_of(done)
    return {"removed": len(done.ids), **told_skipped(done.skipped)}


def some_of(done: Changed) -> Changed:
    """The same. Raises NotFound when nothing was done to any of the images, with the reason of the first."""
    if done.skipped and not done.ids:
        first = done.skipped[0]
        raise NotFound(f"nothing can be done with image {first.id}: {first.reason}", hint="load the list again")
    return done
