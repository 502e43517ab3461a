"""What people say of two images: whether both show the same."""

from apiflask import Schema
from apiflask.fields import Boolean, Integer, List, Nested, String

from web.api.fields import ID_EXAMPLE, Asked, TrueOrFalse, different_images, note
from web.api.schemas.base import Answer


class AnswerQuery(Asked):
    image = String(required=True, metadata=note("of which image", ID_EXAMPLE))


class AnswerForm(Schema):
    images = different_images("the two", most=2)
    same = TrueOrFalse(
        in_json=True,
        required=True,
        allow_none=True,
        metadata=note("whether both show the same; null takes the answer back", True),
    )


class GivenAnswer(Answer):
    images = List(String(), metadata=note("the two"))
    same = Boolean(allow_none=True, metadata=note("whether both show the same", True))
    since_training = Integer(metadata=note("answers since a model was last trained on the gallery", 14))


class AnswerAbout(Answer):
    other = String(metadata=note("the other image"))
    same = Boolean(metadata=note("whether both show the same", True))


class Answers(Answer):
    answers = List(Nested(AnswerAbout))
