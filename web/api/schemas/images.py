"""Images of the gallery: what is known of each, and pages, labels and folders of them."""

from apiflask.fields import Boolean, Float, Integer, List, Nested, String
from apiflask.validators import Length, OneOf, Range

from web.api.fields import ID_EXAMPLE, LABEL_LENGTH, Asked, TrueOrFalse, WholeText, moment, note
from web.api.schemas.base import Answer

PAGE_START = "^[0-9]{1,16}-[0-9a-f]{32}$"  # the `next` of a page


class Known(Answer):
    """What is known of every image that was ever added, in the trash too."""

    id = String(metadata=note("the first 32 hex digits of the SHA-256 of its bytes", ID_EXAMPLE))
    name = String(metadata=note("the last part of its path", "03.jpg"))
    path = String(metadata=note("where it came from, as text to show", "mugs/sunrise-mug/03.jpg"))
    label = String(allow_none=True, metadata=note("its label", "sunrise-mug"))
    width = Integer(metadata=note("in pixels", 1024))
    height = Integer(metadata=note("in pixels", 768))
    format = String(metadata=note("by content, not by name", "JPEG"))
    bytes = Integer(metadata=note("size of the original", 183_204))
    added_at = Float(metadata=note("seconds since 1970, UTC", 1_795_500_000.0))


class Image(Known):
    is_in_place = Boolean(metadata=note("the original is not copied, it stays where its owner keeps it", False))
    taken_at = Float(
        allow_none=True,
        metadata=note("when the photo says it was taken: seconds since 1970 by the camera's clock", 1_795_400_000.0),
    )
    state = String(
        validate=OneOf(["ok", "damaged", "changed", "missing"]),
        metadata=note("damaged: its metadata; changed, missing: its original, which was to stay in place", "ok"),
    )


class ImageQuery(Asked):
    label = String(load_default=None, validate=LABEL_LENGTH, metadata=note("only this label", "mug"))
    unlabelled = TrueOrFalse(load_default=False, metadata=note("only those without a label", False))
    folder = String(load_default=None, validate=Length(max=4_000), metadata=note("only from this folder", "mugs"))
    text = String(
        load_default=None,
        validate=Length(max=200),
        metadata=note("beginnings of words in file name or label", "img_00"),
    )
    added_from = moment("added then or later")
    added_before = moment("added before")
    taken_from = moment("taken then or later by the camera's clock")
    taken_before = moment("taken before by the camera's clock")
    after = String(load_default=None, validate=WholeText(PAGE_START), metadata=note("`next` of the page before"))
    limit = Integer(load_default=60, validate=Range(1, 500), metadata=note("images on a page", 60))


class ListedImage(Image):
    """The same: apispec wants another name for what is nested as well as answered alone. The document says Image."""


class ImagePage(Answer):
    images = List(Nested(ListedImage))
    next = String(allow_none=True, metadata=note("give this as `after` for the next page; null: this is the last"))
    total = Integer(metadata=note("images on all pages", 1_830))


class FolderCount(Answer):
    folder = String(metadata=note("a folder, as text to show", "mugs/sunrise-mug"))
    count = Integer(metadata=note("images that came from it", 12))


class Folders(Answer):
    folders = List(Nested(FolderCount))


class LabelCount(Answer):
    label = String(metadata=note("a label", "sunrise-mug"))
    count = Integer(metadata=note("images that carry it", 12))


class Labels(Answer):
    labels = List(Nested(LabelCount))
