"""Copies of photos: pairs, groups, and what is done about them."""

from apiflask import Schema
from apiflask.fields import Float, Integer, List, Nested, String
from apiflask.validators import OneOf, Range

from web.api.fields import ID_EXAMPLE, Asked, Number, TrueOrFalse, different_images, image_ids, note
from web.api.schemas.base import Answer
from web.api.schemas.images import ListedImage
from web.api.schemas.jobs import STATES
from workers.client import COPY_FROM, NEAR_COPY, SAME_IMAGE

TIERS = (SAME_IMAGE, NEAR_COPY)
MOST_APART = 100  # images that are no duplicates of each other are noted by pairs: 4,950 of them


class DuplicatesForm(Schema):
    score_from = Number(
        load_default=COPY_FROM,
        validate=Range(0.5, 1),
        metadata=note("how well photos must agree; lower also takes shots of one scene for copies", 0.955),
    )


class DuplicatesQuery(Asked):
    tier = String(load_default=None, validate=OneOf(TIERS), metadata=note("only these", "same-image"))


class Pair(Answer):
    id = String(metadata=note("of the one image", ID_EXAMPLE))
    other_id = String(metadata=note("of the other"))
    path = String(metadata=note("where the one came from, as text to show", "mugs/03.jpg"))
    other_path = String(metadata=note("where the other came from", "mugs/03-small.jpg"))
    similarity = Float(metadata=note("cosine of their vectors", 0.97))
    tier = String(
        validate=OneOf(TIERS),
        metadata=note("same-image: saved anew or resized; near-copy: cropped, turned, written over, …", "same-image"),
    )
    score = Float(metadata=note("how well they agree where they overlap, at most 1", 0.991))


class Duplicates(Answer):
    job = String(allow_none=True, metadata=note("what looked for them last; null: nothing has for a week"))
    state = String(allow_none=True, validate=OneOf(STATES), metadata=note("of that job", "done"))
    done = Integer(metadata=note("how much of the gallery it has looked at, in 256ths", 256))
    pairs = List(Nested(Pair), metadata=note("the same image first, then by score"))


class CopyOfImage(Answer):
    image = Nested(ListedImage)
    tier = String(validate=OneOf(TIERS), metadata=note("as of a pair", "same-image"))
    score = Float(metadata=note("how well it agrees with the best one", 0.991))


class CopyGroup(Answer):
    best = Nested(ListedImage, metadata=note("the one to keep: most pixels, unless it is less sharp than others"))
    copies = List(Nested(CopyOfImage), metadata=note("each a copy of the best one"))
    tier = String(validate=OneOf(TIERS), metadata=note("of the copy that is least like it", "near-copy"))


class CopyGroups(Answer):
    job = String(allow_none=True, metadata=note("what looked for them last; null: nothing has for a week"))
    state = String(allow_none=True, validate=OneOf(STATES), metadata=note("of that job", "done"))
    groups = List(Nested(CopyGroup), metadata=note("the same image first; at most 50"))
    total = Integer(metadata=note("groups in all", 12))


class KeepForm(Schema):
    keep = String(required=True, metadata=note("id of the image to keep", ID_EXAMPLE))
    ids = image_ids("of copies, which go into the trash", required=True)


class ApartForm(Schema):
    ids = different_images("of images", most=MOST_APART)
    apart = TrueOrFalse(in_json=True, load_default=True, metadata=note("false takes it back", True))
