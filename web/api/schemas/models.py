"""Models, publishing one, and what that would change: the preview and the queries that it asks."""

from apiflask import Schema
from apiflask.fields import Boolean, Dict, Float, Integer, List, Nested, String
from apiflask.validators import OneOf, Range

from web.api.fields import ID_EXAMPLE, Asked, OneFile, TrueOrFalse, WholeNumber, note
from web.api.schemas.base import Answer
from web.api.schemas.jobs import STATES


class Model(Answer):
    name = String(metadata=note("its name", "grocery-accurate-3f1c9a0b-v1"))
    backbone = String(metadata=note("what it is made from", "efficientnet_lite0"))
    dim = Integer(metadata=note("length of its vectors", 512))
    metrics = Dict(keys=String(), values=Float(), metadata=note("figures from its training, by name"))
    intervals = Dict(
        keys=String(), values=List(Float()), metadata=note("bounds of figures, by name: 95 of 100 draws lie in them")
    )
    is_active = Boolean(metadata=note("whether it answers searches"))


class Models(Answer):
    models = List(Nested(Model))


PRESETS = ("fast", "accurate")
MAX_TRIALS = 200


class TrainForm(Schema):
    how = String(
        required=True,
        validate=OneOf([*PRESETS, "sweep"]),
        metadata=note("a preset of training, or sweep for many settings", "fast"),
    )
    trials = WholeNumber(load_default=12, validate=Range(2, MAX_TRIALS), metadata=note("of a sweep", 12))
    publish = TrueOrFalse(in_json=True, load_default=False, metadata=note("make it answer when it is better"))


class PublishForm(Schema):
    force = TrueOrFalse(in_json=True, load_default=False, metadata=note("also when neighbours get worse"))
    preview = TrueOrFalse(
        in_json=True, load_default=False, metadata=note("build it, then wait until somebody has looked")
    )


class PreviewedHit(Answer):
    id = String(metadata=note("the image's id", ID_EXAMPLE))
    path = String(metadata=note("where it came from, as text to show"))
    label = String(allow_none=True)
    similarity = Float(metadata=note("cosine, by the model whose answer it is", 0.93))
    rank = Integer(metadata=note("1 is the most similar", 1))
    other_rank = Integer(allow_none=True, metadata=note("with the other model; null: not among its first"))
    change = String(validate=OneOf(["same", "moved", "gained", "lost"]), metadata=note("between the models", "gained"))
    is_right = Boolean(allow_none=True, metadata=note("by answers of people, else by labels; null: not known"))


class OldHit(PreviewedHit):
    """The same, under another name, as ListedImage."""


class PreviewedQuery(Answer):
    id = String(metadata=note("of the query's image", ID_EXAMPLE))
    name = String(metadata=note("its name", "03.jpg"))
    source = String(
        validate=OneOf(["saved", "photo", "answered", "drawn"]), metadata=note("why it is asked", "answered")
    )
    label = String(allow_none=True)
    before = List(Nested(OldHit), metadata=note("what the active model answers"))
    after = List(Nested(PreviewedHit), metadata=note("what the other one would"))
    right_before = Integer(metadata=note("answers of the active model that are right, as far as known"))
    right_after = Integer(metadata=note("the same of the other one"))


class Preview(Answer):
    job = String(metadata=note("the job that waits"))
    state = String(validate=OneOf(STATES), metadata=note("how it is", "running"))
    queries = List(Nested(PreviewedQuery))


class SaveImage(Schema):
    id = String(required=True, metadata=note("of an image of the gallery", ID_EXAMPLE))


class SavePhoto(Asked):
    image = OneFile(required=True, metadata=note("the photo; it is kept, and not added to the gallery"))


class SavedQuery(Answer):
    id = String(metadata=note("of its image", ID_EXAMPLE))
    name = String(metadata=note("its name", "03.jpg"))
    at = Float(metadata=note("when it was saved, seconds since 1970"))
    is_photo = Boolean(metadata=note("whether it is no image of the gallery"))


class ListedQuery(SavedQuery):
    """The same, under another name in lists, as ListedImage."""


class SavedQueries(Answer):
    queries = List(Nested(ListedQuery))
