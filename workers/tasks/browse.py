"""Pages of the gallery, for whoever wants to look at it."""

from typing import Any

from workers.process.serving import Serving


def page_of(serving: Serving, *, label: str | None, after: str | None, limit: int) -> dict[str, Any]:
    """Some images of the active collection, in order of their ids.

    Args:
        serving: this worker's store and gallery.
        label: only those with this label.
        after: the id behind which the page starts.
        limit: images a page.

    Returns:
        `images`: messages.GalleryImage as JSON; `next`: what to give as `after` for the next page, or None.
    """
    collection = serving.active().collection
    ids = [point.id for point in serving.store.points(collection, label=label, after=after, limit=limit)]
    images = serving.gallery.find_many(ids)
    return {
        "images": [image.to_json() for image in images.values()],
        "next": ids[-1] if len(ids) == limit else None,
    }
