"""Images of the gallery: what is known of each, and pages and selections of them."""

from dataclasses import dataclass

from workers.messages.base import Message


@dataclass(frozen=True)
class GalleryImage(Message):
    """An image of the gallery: what storage knows of it.

    `id` is the first 32 hex digits of the SHA-256 of its bytes. `path` is where it came from, as data to show, never to
    open. `name` is the last part of it. `is_in_place`: the original is not copied, it stays at `path`. `taken_at` is in
    seconds since 1970 by the camera's clock, as if that showed UTC; None when the photo does not say.

    `state` is ok; damaged: what is known of it cannot be read; changed or missing: it was to stay in place and did not.
    """

    id: str
    name: str
    path: str
    label: str | None
    width: int
    height: int
    format: str
    bytes: int
    added_at: float
    is_in_place: bool = False
    state: str = "ok"
    taken_at: float | None = None


@dataclass(frozen=True)
class Selection(Message):
    """Which images of the gallery: those that all of this is true of.

    `label` is the exact one, `folder` the exact folder of the path. `text` is words that the file's name or the label
    begin with, all of them. Moments are in seconds since 1970, from the first on and before the second; those of
    `taken` are by the camera's clock, as if that showed UTC.
    """

    label: str | None = None
    unlabelled: bool = False
    folder: str | None = None
    text: str | None = None
    added_from: float | None = None
    added_before: float | None = None
    taken_from: float | None = None
    taken_before: float | None = None


@dataclass(frozen=True)
class Skipped(Message):
    """An image that was named, and that nothing could be done with. `name` is empty where nothing is known of it."""

    id: str
    name: str
    reason: str


@dataclass(frozen=True)
class Page(Message):
    """Images, newest first. `next` leads to the following page, None on the last; `total` counts those of all pages."""

    images: tuple[GalleryImage, ...]
    next: str | None
    total: int


@dataclass(frozen=True)
class TrashedImage(Message):
    """An image in the trash: what was known of it, and from when to when it can be restored, in seconds since 1970."""

    id: str
    name: str
    path: str
    label: str | None
    width: int
    height: int
    format: str
    bytes: int
    added_at: float
    deleted_at: float
    expires_at: float


@dataclass(frozen=True)
class LabelCount(Message):
    """A label and how many images of the active collection carry it."""

    label: str
    count: int
