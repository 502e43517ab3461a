"""Indexed folders, what became of each file, and where a missed photo is."""

from apiflask import Schema
from apiflask.fields import Boolean, Float, Integer, List, Nested, String
from apiflask.validators import Length, OneOf

from web.api.fields import ID_EXAMPLE, Asked, OneFile, note
from web.api.schemas.base import Answer
from web.api.schemas.jobs import Failure


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
