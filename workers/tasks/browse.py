"""Looking at the gallery: pages of it, newest first, and one image large."""

from dataclasses import replace
from pathlib import PurePath
from typing import Any

from ml.decoders import Work
from workers.gallery import DAMAGED
from workers.messages import GalleryImage, Page, Selection
from workers.process.serving import Serving
from workers.store import Payload, Place

VIEW_PX = 1600


def page_of(serving: Serving, *, selection: dict[str, Any], after: str | None, limit: int) -> Page:
    """Some images of the active collection, newest first.

    Args:
        serving: this worker's store and gallery.
        selection: messages.Selection as JSON.
        after: the `next` of the page before.
        limit: images per page.
    """
    collection, selected = serving.active().collection, Selection.from_json(selection)
    found = serving.store.newest(collection, selected, after=_place(after), limit=limit)
    points = {point.id: point.payload for point in found}
    images = serving.gallery.find_many(points)
    return Page(
        images=tuple(_shown(image, points[id]) for id, image in images.items()),
        next=f"{found[-1].payload.newest}-{found[-1].id}" if len(found) == limit else None,
        total=serving.store.count(collection, selected),
    )


def make_view(serving: Serving, *, id: str) -> dict[str, Any]:
    """Keeps a large copy of an image: upright, in sRGB, without metadata.

    Raises:
        NotFound: there is no such image.
        Damaged: its original is not what was added.
        UnreadableImage: it cannot be decoded.
    """
    image = serving.gallery.image(id)
    work = Work(serving.active().embedder.preprocessing, VIEW_PX, serving.limits)
    prepared = serving.decoders.decode(serving.gallery.original(image.id), work)
    serving.gallery.put_view(image.id, prepared.thumbnail)
    return {"bytes": len(prepared.thumbnail)}


def _place(after: str | None) -> Place | None:
    newest, _, id = (after or "").partition("-")
    return Place(int(newest), id) if after else None


def _shown(image: GalleryImage, payload: Payload) -> GalleryImage:
    """The image; one whose metadata is damaged with what the collection remembers of it."""
    if image.state != DAMAGED:
        return image
    return replace(image, path=payload.path, name=PurePath(payload.path).name or image.id, label=payload.label)
