"""Changing images, undoing that, and the trash."""

from apiflask import Schema
from apiflask.fields import Float, Integer, List, Nested, String
from apiflask.validators import OneOf, Range

from web.api.fields import A_LABEL, ID_EXAMPLE, LABEL_LENGTH, Asked, image_ids, note
from web.api.schemas.base import Answer
from web.api.schemas.images import Known


class LabelChange(Schema):
    label = String(required=True, allow_none=True, validate=A_LABEL, metadata=note("null takes the label away", "mug"))


ACTIONS = ("label", "remove_label", "delete")


class ChangeForm(Schema):
    action = String(required=True, validate=OneOf(ACTIONS), metadata=note("what to do with them", "label"))
    ids = image_ids("of images", required=True)
    label = String(load_default=None, allow_none=True, validate=A_LABEL, metadata=note("for action label", "mug"))


class Skipped(Answer):
    id = String(metadata=note("as it was given", ID_EXAMPLE))
    name = String(metadata=note("of the file, empty where nothing is known of it", "03.jpg"))
    reason = String(metadata=note("why nothing was done with it", "it is in the trash"))


class Change(Answer):
    job = String(allow_none=True, metadata=note("what undoes it; null: there was nothing to change"))
    changed = List(String(), metadata=note("ids of images that were changed", [ID_EXAMPLE]))
    missing = List(String(), metadata=note("ids of images that were left out", []))
    skipped = List(Nested(Skipped), metadata=note("images that were left out, and why"))


class LabelReplacement(Schema):
    label = String(required=True, validate=LABEL_LENGTH, metadata=note("the label as it is now", "mugg"))
    by = String(required=True, allow_none=True, validate=A_LABEL, metadata=note("its new name; null: none", "mug"))


class ReplacedLabel(Answer):
    job = String(metadata=note("what undoes it"))
    changed = Integer(metadata=note("images that had the label", 12))


class Undone(Answer):
    restored = Integer(metadata=note("images that are as they were", 2))


class Restored(Undone):
    missing = List(String(), metadata=note("ids of images that were left out", []))
    skipped = List(Nested(Skipped), metadata=note("images that were left out, and why"))


class TrashQuery(Asked):
    limit = Integer(load_default=500, validate=Range(1, 5_000), metadata=note("the latest so many", 500))


class TrashedImage(Known):
    label = String(allow_none=True, metadata=note("the label that it comes back with", "sunrise-mug"))
    deleted_at = Float(metadata=note("seconds since 1970, UTC", 1_795_500_000.0))
    expires_at = Float(metadata=note("when it is removed for good", 1_798_092_000.0))


class Trash(Answer):
    images = List(Nested(TrashedImage))
    total = Integer(metadata=note("how many are in the trash in all", 3))


class RestoreForm(Schema):
    ids = image_ids("of images in the trash", required=True)


class RemoveForm(Schema):
    ids = image_ids("of images; left out: all of them", load_default=None, allow_none=True)


class Removed(Answer):
    removed = Integer(metadata=note("images that are gone for good", 3))
    missing = List(String(), metadata=note("ids of images that were left out", []))
    skipped = List(Nested(Skipped), metadata=note("images that were left out, and why"))
