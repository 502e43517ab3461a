"""Paginated gallery listing."""

from dataclasses import replace
from pathlib import PurePath
from typing import Any

from workers.gallery import DAMAGED
from workers.messages import GalleryImage
from workers.process.serving import Serving
from workers.store import Payload


def page_of(serving: Serving, *, label: str | None, after: str | None, limit: int) -> dict[str, Any]:
    """Some images of the active collection, in order of their ids.

    Args:
        serving: this worker's store and gallery.
        label: only those with this label.
        after: the id behind which the page starts.
        limit: images per page.

    Returns:
        `images`: messages.GalleryImage as JSON; `next`: what to give as `after` for the next page, or None.
    """
    collection = serving.active().collection
    points = {p.id: p.payload for p in serving.store.points(collection, label=label, after=after, limit=limit)}
    images = serving.gallery.find_many(points)
    return {
        "images": [_shown(image, points[id]).to_json() for id, image in images.items()],
        "next": next(reversed(points)) if len(points) == limit else None,
    }


def _shown(image: GalleryImage, payload: Payload) -> GalleryImage:
    """The image; one whose metadata is damaged with what the collection remembers of it."""
    if image.state != DAMAGED:
        return image
    return replace(image, path=payload.path, name=PurePath(payload.path).name or image.id, label=payload.label)
