"""What people say of two images: whether both show the same."""

from typing import Any

from apiflask import Schema
from apiflask.fields import Boolean, Integer, List, Nested, String
from marshmallow import ValidationError, validates_schema

from web.api.fields import ID_EXAMPLE, Asked, TrueOrFalse, note
from web.api.schemas.base import Answer


class AnswerQuery(Asked):
    image = String(required=True, metadata=note("of which image", ID_EXAMPLE))


class AnswerForm(Schema):
    image = String(required=True, metadata=note("one image", ID_EXAMPLE))
    other = String(required=True, metadata=note("another image", "d7a8fbb307d7809469ca9abcb0082e4f"))
    same = TrueOrFalse(
        in_json=True,
        required=True,
        allow_none=True,
        metadata=note("whether both show the same; null takes the answer back", True),
    )

    @validates_schema(skip_on_field_errors=True)
    def _is_about_two(self, data: dict[str, Any], **_: Any) -> None:
        if data["image"] == data["other"]:
            raise ValidationError("Must be another image.", "other")


class GivenAnswer(Answer):
    image = String(metadata=note("one image", ID_EXAMPLE))
    other = String(metadata=note("the other image"))
    same = Boolean(allow_none=True, metadata=note("whether both show the same", True))
    since_training = Integer(metadata=note("answers since a model was last trained on the gallery", 14))


class AnswerAbout(Answer):
    other = String(metadata=note("the other image"))
    same = Boolean(metadata=note("whether both show the same", True))


class Answers(Answer):
    answers = List(Nested(AnswerAbout))
