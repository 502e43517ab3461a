"""Compares the gallery with a collection, a 256th at a time: images whose ids start with the same two digits."""

from workers.process.serving import Serving
from workers.queue.jobs import Chunk
from workers.store import Payload, points_with_prefix


def compare(serving: Serving, chunk: Chunk) -> tuple[dict[str, int], list[str]]:
    """Finds what differs.

    Args:
        serving: this worker's store and gallery.
        chunk: items are of PREFIXES.

    Returns:
        Counts: `done` and `total` images looked at, `missing` from the collection, `extra` in it, `different` in
        their payloads. And the ids of all that differ.
    """
    collection = chunk.params.get("collection") or serving.active().collection
    counts = dict.fromkeys(("total", "done", "missing", "extra", "different"), 0)
    ids: list[str] = []
    for item in chunk.items:
        prefix = item.removeprefix("prefix:")
        images = serving.gallery.find_many(serving.gallery.ids(prefix))
        points = points_with_prefix(serving.store, collection, prefix)
        missing = [id for id in images if id not in points]
        extra = [id for id in points if id not in images]
        different = [id for id, p in images.items() if id in points and points[id].payload != Payload(p.path, p.label)]
        for name, found in (("missing", missing), ("extra", extra), ("different", different)):
            counts[name] += len(found)
            ids += found
        counts["total"] += len(images)
        counts["done"] += len(images)
    if "collection" in chunk.params:  # its total counts what is embedded
        counts["total"] = counts["done"] = 0
    return counts, ids
