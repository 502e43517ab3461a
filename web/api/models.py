"""/models and /queries: which models there are, getting and publishing one, and what it answers to saved queries."""

import math
from typing import Any

from apiflask import APIBlueprint
from flask import current_app
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge

from web.access import audit, requires
from web.api.schemas.jobs import Job
from web.api.schemas.models import (
    MAX_TRIALS,
    PRESETS,
    Models,
    Preview,
    PublishForm,
    SavedQueries,
    SavedQuery,
    SaveImage,
    SavePhoto,
    TrainForm,
)
from web.backend import client, image_id
from web.bodies import accepts_images
from workers import messages
from workers.client import Refused, Role
from workers.messages import SweepRequest, TrainRequest

blueprint = APIBlueprint("models", __name__)

_NOT_NOW = {409: "It is not possible now: the hint says what to do"}


@blueprint.get("/models")
@requires(Role.VIEWER)
@blueprint.output(Models)
@blueprint.doc(tags=["Models"])
def list_models() -> Any:
    """List the registered models, oldest first"""
    return _models()


def _models() -> dict[str, Any]:
    active = client().active()
    shown = [
        {
            "name": each.name,
            "backbone": each.backbone,
            "dim": each.dim,
            "metrics": {
                name: value
                for name, value in each.metrics.items()
                if isinstance(value, int | float) and math.isfinite(value)
            },
            "intervals": each.metrics.get("intervals") or {},
            "is_active": active is not None and active.model == each.name,
        }
        for each in client().models()
    ]
    return {"models": shown}


@blueprint.post("/models/<model>/publish")
@requires(Role.ADMIN)
@blueprint.input(PublishForm, arg_name="asked")
@blueprint.output(Job, 202, description="It is under way")
@blueprint.doc(tags=["Models"])
def publish_model(model: str, asked: dict[str, Any]) -> Any:
    """Publish a model, or prepare a preview of it

    With `preview` the collection is built and checked, and then the job waits. Publishing the model without `preview`
    switches searches over at once; stopping the job forgets it.
    """
    audit.changes("publish", [model], force=asked["force"], preview=asked["preview"])
    job = client().publish(model, force=asked["force"], preview=asked["preview"])
    return client().job(job).to_json()


@blueprint.post("/models/train")
@requires(Role.ADMIN)
@blueprint.input(TrainForm, arg_name="asked")
@blueprint.output(Job, 202, description="It is under way, or waits for another training to end")
@blueprint.doc(tags=["Models"], responses=_NOT_NOW)
def train_model(asked: dict[str, Any]) -> Any:
    """Train a model on the labelled gallery, or try many settings

    One training runs at a time: the next one waits, and its job says so. `publish` makes the model answer when it is
    better.
    """
    audit.changes("train", how=asked["how"])
    return client().job(start_training(asked["how"], trials=asked["trials"], publish=asked["publish"])).to_json()


@blueprint.post("/models/tune")
@requires(Role.ADMIN)
@blueprint.output(Job, 202, description="It is under way")
@blueprint.doc(tags=["Models"], responses=_NOT_NOW)
def tune_model() -> Any:
    """Fit the model that answers to the gallery's own photos, without labels"""
    audit.changes("tune")
    return client().job(client().tune()).to_json()


@blueprint.post("/models/rollback")
@requires(Role.ADMIN)
@blueprint.output(Models, description="The model before answers again; newer photos follow in a job")
@blueprint.doc(tags=["Models"], responses=_NOT_NOW)
def roll_back() -> Any:
    """Switch back to the model that answered before"""
    audit.changes("roll back")
    client().rollback()
    return _models()


def start_training(how: str, *, trials: int, publish: bool) -> str:
    """Starts a training on the labelled gallery. Returns the job. Pages and API share it.

    Raises:
        Refused: there is no such way, or nothing can train here.
    """
    if how == "sweep":
        trials = min(max(2, trials), MAX_TRIALS)
        return client().trainings.start(SweepRequest(("gallery",), trials=trials, publish=publish))
    if how not in PRESETS:
        raise Refused("there is no such way to train", hint="choose fast, accurate or sweep")
    return client().trainings.start(TrainRequest("gallery", preset=how, publish=publish))


@blueprint.get("/jobs/<job_id>/preview")
@requires(Role.EDITOR)
@blueprint.output(Preview)
@blueprint.doc(tags=["Models"])
def get_preview(job_id: str) -> Any:
    """Show what a model would answer beside what the active one does

    To saved queries, to images that people have answered about, and to a draw from the gallery. Empty until the job
    waits.
    """
    job = client().job(job_id)
    queries = client().previewed(job.job)
    return {"job": job.job, "state": job.state, "queries": [query.to_json() for query in queries]}


@blueprint.get("/queries")
@requires(Role.VIEWER)
@blueprint.output(SavedQueries)
@blueprint.doc(tags=["Models"])
def list_queries() -> Any:
    """List the saved queries, the latest first"""
    return {"queries": [query.to_json() for query in client().queries.all()]}


@blueprint.post("/queries")
@requires(Role.EDITOR)
@blueprint.input(SaveImage, arg_name="asked")
@blueprint.output(SavedQuery, 201, description="It is kept")
@blueprint.doc(tags=["Models"])
def save_query(asked: dict[str, Any]) -> Any:
    """Save an image of the gallery as a query"""
    audit.changes("save query", [asked["id"]])
    return client().save_query(id=image_id(asked["id"])).to_json()


@blueprint.post("/photo-queries")
@requires(Role.EDITOR)
@accepts_images(1)
@blueprint.input(SavePhoto, location="files", arg_name="files")
@blueprint.output(SavedQuery, 201, description="It is kept")
@blueprint.doc(tags=["Models"])
def save_photo_query(files: dict[str, Any]) -> Any:
    """Save a photo as a query, without adding it to the gallery"""
    return save_photo(files["image"]).to_json()


@blueprint.delete("/queries/<id>")
@requires(Role.EDITOR)
@blueprint.output({}, 204, description="It is kept no longer")
@blueprint.doc(tags=["Models"])
def forget_query(id: str) -> Any:
    """Remove a saved query"""
    audit.changes("forget query", [id])
    client().changes.forget_query(image_id(id))
    return ""


@blueprint.post("/queries/<id>/restore")
@requires(Role.EDITOR)
@blueprint.output(SavedQuery, description="It is kept again")
@blueprint.doc(tags=["Models"], responses={404: "It was not removed, or too long ago"})
def restore_query(id: str) -> Any:
    """Bring back a saved query that was removed within the last day"""
    audit.changes("restore query", [id])
    return client().queries.restore(image_id(id)).to_json()


def save_photo(image: FileStorage) -> messages.SavedQuery:
    """Keeps the photo of a form as a query. Pages and API share it. Raises RequestEntityTooLarge, UnreadableImage."""
    max_bytes: int = current_app.config["MAX_IMAGE_BYTES"]
    data = image.stream.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise RequestEntityTooLarge(f"the photo is larger than {max_bytes // 2**20} MB")
    audit.changes("save query")
    return client().save_query(data, name=image.filename or "a photo")
