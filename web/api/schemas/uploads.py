"""Adding photos."""

from apiflask.fields import URL, Float, List, Nested, String
from apiflask.validators import Length, OneOf, Range

from web.api.fields import A_LABEL, ID_EXAMPLE, Asked, Files, note
from web.api.schemas.base import Answer
from web.api.schemas.jobs import STATES

OUTCOMES = ("added", "unchanged", "restored", "refused", "pending")


class UploadForm(Asked):
    images = Files(required=True, validate=Length(min=1), metadata=note("the photos to keep, one part each"))
    label = String(load_default=None, validate=A_LABEL, metadata=note("label for all of them", "mug"))
    label_from = String(
        load_default="person",
        validate=OneOf(["person", "folder"]),
        metadata=note("who gave the label: a folder's name never replaces what a person chose", "person"),
    )
    wait_s = Float(
        load_default=10.0, validate=Range(0, 30), metadata=note("how long to wait for them to be searchable")
    )


class Uploaded(Answer):
    file = String(metadata=note("the file's name, as sent", "IMG_0042.jpg"))
    id = String(allow_none=True, metadata=note("the image's id; null when it was refused", ID_EXAMPLE))
    outcome = String(
        validate=OneOf(OUTCOMES),
        metadata=note("unchanged: was there; restored: was in the trash; pending: stored, not searchable yet", "added"),
    )
    reason = String(allow_none=True, metadata=note("why it was refused"))


class Upload(Answer):
    job = String(metadata=note("the job that makes the photos searchable"))
    job_url = URL(relative=True, metadata=note("where to follow it"))
    state = String(validate=OneOf(STATES), metadata=note("of the job", "done"))
    images = List(Nested(Uploaded))
