"""/changes and /trash: many images at once, undoing, and what was deleted. Pages and API share what is done."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from apiflask import APIBlueprint
from werkzeug.exceptions import UnprocessableEntity

from web.access import audit, requires
from web.api.schemas.changes import (
    Change,
    ChangeForm,
    LabelReplacement,
    Removed,
    RemoveForm,
    ReplacedLabel,
    RestoreForm,
    Trash,
    TrashQuery,
    Undone,
)
from web.api.uploads import tidy_label
from web.backend import client, image_id
from web.bodies import MANY_IDS, body_limit
from workers.client import NotFound, Role

blueprint = APIBlueprint("changes", __name__)

_NONE_THERE = {404: "None of the images is in the trash"}


@dataclass(frozen=True)
class Changed:
    """What became of a change: the job that makes it, which can be undone, and the images that are no longer there."""

    job: str | None
    ids: Sequence[str]
    missing: Sequence[str]


def change(action: str, ids: Sequence[str], label: str | None = None) -> Changed:
    """Labels, unlabels or deletes images, and waits until searches see it. One that is gone costs only itself.

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
    there, missing = [], []
    for id in dict.fromkeys(ids):
        try:
            there.append(client().image(image_id(id)).id)
        except NotFound:
            missing.append(id)
    if not there:
        return Changed(None, (), missing)
    audit.changes(action.replace("_", " "), there, **({"label": label} if action == "label" else {}))
    status = client().delete(there) if action == "delete" else client().label(there, label)
    return Changed(status.job, there, missing)


@blueprint.post("/changes")
@requires(Role.EDITOR)
@body_limit(MANY_IDS)
@blueprint.input(ChangeForm, arg_name="asked")
@blueprint.output(Change, description="Searches see the change")
@blueprint.doc(tags=["Gallery"])
def change_images(asked: dict[str, Any]) -> Any:
    """Label or delete many images

    Images that are no longer there are named in `missing` and stop nothing. The `job` is what undoes the change.
    """
    label = tidy_label(asked["label"]) if asked["action"] == "label" else None
    done = change(asked["action"], asked["ids"], label)
    return {"job": done.job, "changed": list(done.ids), "missing": list(done.missing)}


@blueprint.post("/labels/replace")
@requires(Role.EDITOR)
@blueprint.input(LabelReplacement, arg_name="asked")
@blueprint.output(ReplacedLabel, description="Searches see the change")
@blueprint.doc(tags=["Gallery"], responses={404: "No image has the label"})
def replace_label(asked: dict[str, Any]) -> Any:
    """Rename, merge or remove a label

    Every image with the label gets another one, which merges the two where it is in use, or none. The `job` undoes it.
    """
    by = tidy_label(asked["by"])
    audit.changes("replace label", label=asked["label"], by=by)
    status = client().replace_label(asked["label"], by)
    return {"job": status.job, "changed": status.total}


@blueprint.post("/changes/<job_id>/undo")
@requires(Role.EDITOR)
@blueprint.output(Undone, description="Searches see it as it was")
@blueprint.doc(tags=["Gallery"])
def undo_change(job_id: str) -> Any:
    """Undo a change

    For a day. Labels go back to what each was, deleted images come back; what was changed again since stays.
    """
    audit.changes("undo", [job_id])
    return {"restored": client().undo(job_id).total}


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
@blueprint.output(Undone, description="They are searchable again")
@blueprint.doc(tags=["Gallery"], responses=_NONE_THERE)
def restore_images(asked: dict[str, Any]) -> Any:
    """Restore deleted images"""
    audit.changes("restore", asked["ids"])
    return {"restored": client().restore([image_id(id) for id in asked["ids"]]).total}


@blueprint.post("/trash/empty")
@requires(Role.EDITOR)
@body_limit(MANY_IDS)
@blueprint.input(RemoveForm, arg_name="asked")
@blueprint.output(Removed, description="They are gone for good")
@blueprint.doc(tags=["Gallery"], responses=_NONE_THERE)
def empty_trash(asked: dict[str, Any]) -> Any:
    """Remove deleted images for good

    Those named in `ids`, or all of them. Nothing brings them back.
    """
    ids = asked["ids"]
    audit.changes("empty the trash", ids or ())
    return {"removed": client().changes.empty_trash(ids if ids is None else [image_id(id) for id in ids])}
