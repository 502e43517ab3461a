"""/answers: what people said of two images, the same or not the same."""

from typing import Any

from apiflask import APIBlueprint

from web.access import audit, requires
from web.api.schemas.answers import AnswerForm, AnswerQuery, Answers, GivenAnswer
from web.backend import client, image_id
from workers.client import Role

blueprint = APIBlueprint("answers", __name__)


@blueprint.get("/answers")
@requires(Role.VIEWER)
@blueprint.input(AnswerQuery, location="query", arg_name="asked")
@blueprint.output(Answers)
@blueprint.doc(tags=["Gallery"])
def list_answers(asked: dict[str, Any]) -> Any:
    """List what was said of an image

    An image is known by its content, the first 32 hex digits of its SHA-256, whether it is in the gallery or not: an
    answer outlives models, deletion, backup and restoration.
    """
    about = client().answers.about(image_id(asked["image"]))
    return {"answers": [{"other": other, "same": is_same} for other, is_same in sorted(about.items())]}


@blueprint.put("/answers")
@requires(Role.EDITOR)
@blueprint.input(AnswerForm, arg_name="asked")
@blueprint.output(GivenAnswer)
@blueprint.doc(tags=["Gallery"])
def give_answer(asked: dict[str, Any]) -> Any:
    """Say whether two images show the same

    The next training on the gallery uses it: images that are the same are of one class, also without a label, and
    images that are not are kept apart. `same` null takes the answer back.
    """
    one, other = map(image_id, asked["images"])
    audit.changes("answer", [one, other], same=asked["same"])
    given = client().answers.give(one, other, asked["same"])
    return {"images": [one, other], "same": given.is_same, "since_training": client().answers_since_training()}
