"""Pages of the gallery, for whoever wants to look at it."""

from typing import Any

from workers.serving import Serving


def page_of(serving: Serving, *, label: str | None, after: str | None, limit: int) -> dict[str, Any]:
    """Some pictures of the active collection, in order of their ids.

    Args:
        serving: this worker's store and gallery.
        label: only those with this label.
        after: the id behind which the page starts.
        limit: pictures a page.

    Returns:
        `pictures`: messages.Picture as JSON; `next`: what to give as `after` for the next page, or None.
    """
    collection = serving.active().collection
    ids = [point.id for point in serving.store.points(collection, label=label, after=after, limit=limit)]
    pictures = serving.gallery.find_many(ids)
    return {
        "pictures": [picture.to_json() for picture in pictures.values()],
        "next": ids[-1] if len(ids) == limit else None,
    }
