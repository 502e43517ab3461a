"""The API's vocabulary, as marshmallow schemas: what APIFlask checks requests with and describes answers by.

Answers mirror the messages of `workers.messages`; tests/web/test_openapi.py holds the two together.
"""

import math
from typing import Any

from apiflask import Schema
from apiflask.fields import URL, Boolean, Dict, Field, Float, Integer, List, Nested, String
from apiflask.validators import Length, OneOf, Range
from marshmallow import ValidationError, validates_schema

from web.api.fields import (
    A_LABEL,
    ID_EXAMPLE,
    LABEL_LENGTH,
    Asked,
    Files,
    Number,
    OneFile,
    TrueOrFalse,
    WholeNumber,
    WholeText,
    image_ids,
    moment,
    note,
)
from workers.client import COPY_FROM, MOST_EXAMPLES, NEAR_COPY, SAME_IMAGE
from workers.messages import AVERAGE, STRATEGIES

MAX_K = 200
PAGE_START = "^[0-9]{1,16}-[0-9a-f]{32}$"  # the `next` of a page

TIERS = (SAME_IMAGE, NEAR_COPY)
OUTCOMES = ("added", "unchanged", "restored", "refused", "pending")
STATES = ("running", "done", "failed", "stopped")
KINDS = (
    "index",
    "label",
    "delete",
    "undelete",
    "verify",
    "reconcile",
    "duplicates",
    "train",
    "sweep",
    "publish",
    "tune",
    "backup",
    "restore",
    "migrate",
)
QUEUES = ("search", "index", "maintenance")


class Answer(Schema):
    """What goes out. Every field is always there, so the document marks each as required; a missing value is null."""

    def on_bind_field(self, field_name: str, field_obj: Field[Any]) -> None:
        field_obj.required = True


class Problem(Schema):
    """An error, as RFC 9457 has it."""

    type = String(required=True, metadata=note("always about:blank: the title says which problem it is", "about:blank"))
    title = String(required=True, metadata=note("what kind of problem", "Unreadable image"))
    status = Integer(required=True, metadata=note("the HTTP status again", 422))
    detail = String(required=True, metadata=note("what is the case", "notes.txt is no image that we read"))
    hint = String(required=True, metadata=note("what to do next", "choose another photo"))
    errors = List(Dict(keys=String(), values=String()), metadata=note("which fields or files, each with its reason"))


class SearchOptions(Asked):
    k = Integer(load_default=6, validate=Range(1, MAX_K), metadata=note("how many results", 6))
    label = String(load_default=None, allow_none=True, validate=LABEL_LENGTH, metadata=note("only this label", "mug"))
    rerank = TrueOrFalse(load_default=False, metadata=note("order by k-reciprocal neighbours: slower, often better"))
    strategy = String(
        load_default=AVERAGE,
        validate=OneOf(STRATEGIES),
        metadata=note("of several photos: average: what all have in common; best: what is like any of them", AVERAGE),
    )


_EXAMPLE_COUNT = Length(max=MOST_EXAMPLES - 1)
_BOX = (
    "search with a part of the photo alone: left, top, width and height, in shares of the upright photo when none is "
)
_BOX += "above 1, else in pixels"
_NOT_ITSELF = "; the photos of the query are left out of the answer then, and it claims no probabilities"


class BoxText(String):
    """Four numbers with commas between, as a form sends them."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        try:
            return numbers_of_box(super()._deserialize(value, attr, data, **kwargs))
        except ValueError as error:
            raise ValidationError("Must be four numbers: left, top, width, height.") from error


def numbers_of_box(text: str) -> list[float] | None:
    """Left, top, width and height with commas between; None of no text. Raises ValueError."""
    if not text:
        return None
    left, top, width, height = map(float, text.split(","))
    if not all(map(math.isfinite, (left, top, width, height))):
        raise ValueError(text)
    return [left, top, width, height]


class SearchByImage(SearchOptions):
    image = OneFile(load_default=None, metadata=note("the query photo; it is searched with and not kept"))
    id = String(
        load_default=None,
        metadata=note("id of an image of the gallery to search with, in place of a photo", ID_EXAMPLE),
    )
    box = BoxText(load_default=None, metadata=note(_BOX, "0.25,0.1,0.5,0.6"))
    more = Files(load_default=(), validate=_EXAMPLE_COUNT, metadata=note(f"further photos to look for{_NOT_ITSELF}"))
    more_id = List(
        String(), load_default=(), validate=_EXAMPLE_COUNT, metadata=note("further images to look for, by their ids")
    )
    unlike = Files(load_default=(), validate=_EXAMPLE_COUNT, metadata=note("photos that are not looked for"))
    unlike_id = List(
        String(), load_default=(), validate=_EXAMPLE_COUNT, metadata=note("images that are not looked for")
    )

    @validates_schema(skip_on_field_errors=True)
    def _is_about_one(self, data: dict[str, Any], **_: Any) -> None:
        if (data["image"] is None) == (data["id"] is None):
            raise ValidationError("Send one of image and id: what to search with.", "image")


class SearchById(SearchOptions):
    k = WholeNumber(load_default=6, validate=Range(1, MAX_K), metadata=note("how many results", 6))
    rerank = TrueOrFalse(in_json=True, load_default=False, metadata=note("k-reciprocal re-ranking"))
    id = String(required=True, metadata=note("id of an image of the gallery to search with", ID_EXAMPLE))
    box = List(
        Number(),
        load_default=None,
        allow_none=True,
        validate=Length(equal=4),
        metadata=note(_BOX, [0.25, 0.1, 0.5, 0.6]),
    )
    more = List(
        String(),
        load_default=(),
        validate=_EXAMPLE_COUNT,
        metadata=note(f"ids of further images to look for{_NOT_ITSELF}", []),
    )
    unlike = List(
        String(), load_default=(), validate=_EXAMPLE_COUNT, metadata=note("ids of images that are not looked for", [])
    )


class Result(Answer):
    rank = Integer(metadata=note("1 is the most similar", 1))
    id = String(metadata=note("the image's id", ID_EXAMPLE))
    path = String(metadata=note("where the image came from, as text to show", "mugs/sunrise-mug/03.jpg"))
    label = String(allow_none=True, metadata=note("its label", "sunrise-mug"))
    similarity = Float(metadata=note("cosine, in [-1, 1]", 0.93))
    distance = Float(metadata=note("L2 distance of unit vectors", 0.374))
    probability = Float(
        allow_none=True, metadata=note("that it shows the same thing; null: nothing is claimed, see told", 0.97)
    )
    verdict = String(
        allow_none=True,
        validate=OneOf(["same", "similar", "unlikely"]),
        metadata=note("same from 0.6 on, unlikely below 0.25; null: nothing is claimed", "same"),
    )


class SearchResult(Answer):
    model = String(metadata=note("the model that gave this answer", "efficientnet-lite0-imagenet"))
    collection = String(metadata=note("the collection that it compared with"))
    results = List(Nested(Result))
    timings_ms = Dict(keys=String(), values=Float(), metadata=note("where the time went: wait, decode, embed, search"))
    matches = Integer(
        allow_none=True,
        metadata=note("results whose verdict is same; 0: nothing in the gallery matches; null: not claimed", 3),
    )
    told = String(metadata=note("what probabilities were fitted on, or why there are none", "fitted on your labels"))


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


class LabelChange(Schema):
    label = String(required=True, allow_none=True, validate=A_LABEL, metadata=note("null takes the label away", "mug"))


ACTIONS = ("label", "remove_label", "delete")


class ChangeForm(Schema):
    action = String(required=True, validate=OneOf(ACTIONS), metadata=note("what to do with them", "label"))
    ids = image_ids("of images", required=True)
    label = String(load_default=None, allow_none=True, validate=A_LABEL, metadata=note("for action label", "mug"))


class Change(Answer):
    job = String(allow_none=True, metadata=note("what undoes it; null: there was nothing to change"))
    changed = List(String(), metadata=note("ids of images that were changed", [ID_EXAMPLE]))
    missing = List(String(), metadata=note("ids of images that are not in the gallery", []))


class LabelReplacement(Schema):
    label = String(required=True, validate=LABEL_LENGTH, metadata=note("the label as it is now", "mugg"))
    by = String(required=True, allow_none=True, validate=A_LABEL, metadata=note("its new name; null: none", "mug"))


class ReplacedLabel(Answer):
    job = String(metadata=note("what undoes it"))
    changed = Integer(metadata=note("images that had the label", 12))


class Undone(Answer):
    restored = Integer(metadata=note("images that are as they were", 2))


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


class ProposalsQuery(Asked):
    limit = Integer(load_default=60, validate=Range(1, 120), metadata=note("groups", 60))


class Proposal(Answer):
    label = String(allow_none=True, metadata=note("what their neighbours suggest; null: no idea", "mug"))
    share = Float(metadata=note("of the neighbours' votes that the label has", 0.83))
    images = List(Nested(ListedImage), metadata=note("images without a label that are all similar to each other"))


class Proposals(Answer):
    groups = List(Nested(Proposal), metadata=note("what teaches most first"))
    total = Integer(metadata=note("images without a label, also those in no group yet", 37))


class OutliersQuery(Asked):
    label = String(required=True, validate=LABEL_LENGTH, metadata=note("of which label", "mug"))
    limit = Integer(load_default=12, validate=Range(1, 60), metadata=note("the most doubtful so many", 12))


class Outlier(Answer):
    image = Nested(ListedImage)
    similarity = Float(metadata=note("mean cosine to the most similar images of its label", 0.41))
    like = String(
        allow_none=True,
        metadata=note("label that most of its neighbours have; null: far from the others alone", "jug"),
    )


class Outliers(Answer):
    label = String(metadata=note("the label", "mug"))
    count = Integer(metadata=note("images that carry it", 12))
    outliers = List(Nested(Outlier), metadata=note("images whose label may be wrong, the most doubtful first"))


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


class Failure(Answer):
    path = String(metadata=note("the file that was left out", "notes.txt"))
    reason = String(metadata=note("why"))


class LeftOut(Failure):
    """The same, under another name where it is nested deeper, as ListedImage."""


class FolderCoverage(Answer):
    folder = String(metadata=note("its path on the machine that indexed it", "/home/ann/Pictures"))
    host = String(metadata=note("that machine", "ann-laptop"))
    at = Float(metadata=note("when it was looked at, seconds since 1970", 1_795_500_000.0))
    is_watched = Boolean(metadata=note("whether the gallery follows it", True))
    job = String(allow_none=True, metadata=note("the job that indexes or indexed it"))
    is_complete = Boolean(metadata=note("false while the job runs, and after one that was cut short", True))
    indexed = Integer(metadata=note("files whose photo is indexed", 1_801))
    same = Integer(metadata=note("of these, files whose photo goes by another file's path", 12))
    failed = Integer(metadata=note("files that could not be read, see failures", 3))
    waiting = Integer(metadata=note("files that are still to be indexed", 0))
    skipped = Integer(metadata=note("files and folders that are plainly no photos, see skips", 26))
    failures = List(Nested(LeftOut), metadata=note("the first 1,000 files that could not be read"))
    skips = List(Nested(LeftOut), metadata=note("the first 1,000 that were skipped"))


class FolderCoverages(Answer):
    folders = List(Nested(FolderCoverage))


class Folder(Schema):
    folder = String(required=True, validate=Length(max=16_384), metadata=note("as coverage lists it", "/mnt/scans"))


class WhereaboutsForm(Asked):
    image = OneFile(required=True, metadata=note("the photo that is missed; it is looked for and not kept"))


class Whereabouts(Answer):
    answer = String(
        validate=OneOf(["here", "damaged", "trash", "unreadable", "failed", "skipped", "alike", "unknown"]),
        metadata=note("alike: a photo that looks the same is here; failed: a file of this name was left out", "trash"),
    )
    told = String(metadata=note("the answer in words", "It is in the trash since 2026-11-24."))
    next = String(metadata=note("what to do, in words", "Restore it there."))
    id = String(allow_none=True, metadata=note("of the image that the answer is about", ID_EXAMPLE))
    path = String(allow_none=True, metadata=note("of that image, or of the file that was left out"))


class Job(Answer):
    job = String(metadata=note("the job's id"))
    kind = String(validate=OneOf(KINDS), metadata=note("what it does", "index"))
    state = String(validate=OneOf(STATES), metadata=note("how it is", "running"))
    total = Integer(metadata=note("items to do", 128))
    done = Integer(metadata=note("items finished, failed ones included", 64))
    added = Integer(metadata=note("new ones", 60))
    updated = Integer(metadata=note("known ones with a new label", 0))
    unchanged = Integer(metadata=note("known ones", 3))
    removed = Integer(metadata=note("deleted ones", 0))
    failed = Integer(metadata=note("left out, see failures", 1))
    seconds = Float(metadata=note("since it began"))
    ended_at = Float(allow_none=True, metadata=note("seconds since 1970, null while it runs"))
    failures = List(Nested(Failure), metadata=note("the first 1,000"))
    detail = Dict(keys=String(), metadata=note("what this kind of job has to tell besides"))


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
    ids = List(String(), required=True, validate=Length(min=2, max=100), metadata=note("of images"))
    apart = Boolean(load_default=True, metadata=note("false takes it back", True))


class ListedJob(Job):
    """The same, under another name in lists, as ListedImage."""


class JobList(Answer):
    jobs = List(Nested(ListedJob))


class Model(Answer):
    name = String(metadata=note("its name", "grocery-accurate-3f1c9a0b-v1"))
    backbone = String(metadata=note("what it is made from", "efficientnet_lite0"))
    dim = Integer(metadata=note("length of its vectors", 512))
    metrics = Dict(keys=String(), values=Float(), metadata=note("figures from its training, by name"))
    is_active = Boolean(metadata=note("whether it answers searches"))


class Models(Answer):
    models = List(Nested(Model))


class PublishForm(Schema):
    force = Boolean(load_default=False, metadata=note("also when neighbours get worse"))
    preview = Boolean(load_default=False, metadata=note("build it, then wait until somebody has looked"))


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


class Worker(Answer):
    id = String()
    host = String()
    pid = Integer()
    queues = List(String(validate=OneOf(QUEUES)))
    device = String(metadata=note("where its model runs", "cpu"))
    precision = String(metadata=note("number format of the model", "bf16"))
    why = String(metadata=note("the reason for device and precision"))
    model = String()
    collection = String()
    images = Integer()
    holds = List(String(), metadata=note("collections that a change of the gallery reaches through it"))
    age_s = Float(metadata=note("since its last heartbeat"))
    started_at = Float()
    rss_mb = Float(metadata=note("memory in use"))
    problem = String(metadata=note("what it cannot work without and that is away; empty: nothing"))


class Health(Answer):
    healthy = Boolean()
    problems = List(String(), metadata=note("what is wrong and what to do, in words; empty: nothing"))
    suggestions = List(String(), metadata=note("what would make searches better, in words"))
    model = String(allow_none=True)
    collection = String(allow_none=True)
    images = Integer(allow_none=True, metadata=note("in the active collection; null while no worker can be heard"))
    queues = Dict(keys=String(), values=Integer(), metadata=note("tasks waiting in each queue"))
    workers = List(Nested(Worker))
    settings = Dict(keys=String(), metadata=note("every setting, secrets hidden; empty for all but admins"))
