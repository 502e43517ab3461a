"""Makes collections agree with the gallery, for some pictures: the one step behind index, label, delete and repair.

The gallery is changed first; then its ids come here. A picture that exists gets its point or a corrected payload;
one that does not loses its point. Safe to run twice, and side by side with itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ml.images import UnreadableImage, decode, thumbnail
from workers.gallery import NotFound
from workers.messages import Failure, Picture
from workers.serving import Live, Serving
from workers.store import Payload, Point

THUMBNAIL_PX = 320


@dataclass
class Outcome:
    """What happened to each id, and which originals turned out to be no pictures."""

    counts: dict[str, int] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def clean_up(self, serving: Serving) -> None:
        """Removes what was refused from the gallery. Called when the failures have been recorded, not before."""
        for id in self.refused:
            serving.gallery.forget(id)
            serving.gallery.sweep(id)


def reconcile(
    serving: Serving,
    ids: Sequence[str],
    target: Live | None = None,
    renew: Callable[[], None] = lambda: None,
) -> Outcome:
    """Brings the points of these ids in line with the gallery.

    Args:
        serving: this worker's models, store and gallery.
        ids: picture ids, existing or not; at most a chunk.
        target: the only collection to work on; every live one if None. The counts are those of the first.
        renew: called now and then, to say that work goes on.
    """
    wanted = list(dict.fromkeys(ids))
    pictures = serving.gallery.find_many(wanted)
    gone = [id for id in wanted if id not in pictures]
    counts = dict.fromkeys(("added", "unchanged", "updated", "removed"), 0)
    counts["unchanged"] = len(ids) - len(wanted)
    failed: dict[str, Failure] = {}
    written: set[str] = set()
    # A collection may come to life while we write: whoever makes it counts on us to look again.
    while targets := [t for t in _targets(serving, target) if t.collection not in written]:
        for live in targets:
            done = _remove(serving, live.collection, gone) | _write(serving, live, pictures, failed, renew)
            if not written:
                counts = {name: count + done.get(name, 0) for name, count in counts.items()}
                counts["unchanged"] += len(gone) - done["removed"]
            written.add(live.collection)
    for collection in serving.retained() if target is None else ():
        if serving.store.exists(collection):
            _remove(serving, collection, gone)
            _relabel(serving, collection, pictures)
    for id in gone:
        serving.gallery.sweep(id)
    _catch_up(serving, pictures, written)
    refused = [id for id in failed if serving.gallery.is_intact(id)]
    return Outcome(counts, list(failed.values()), refused)


def _targets(serving: Serving, target: Live | None) -> Sequence[Live]:
    return serving.targets() if target is None else (target,)


def _remove(serving: Serving, collection: str, gone: list[str]) -> dict[str, int]:
    present = list(serving.store.fetch(collection, gone)) if gone else []
    if present:
        serving.store.delete(collection, present)
    return {"removed": len(present)}


def _relabel(serving: Serving, collection: str, pictures: dict[str, Picture]) -> tuple[dict[str, Payload], int]:
    """Corrects payloads. Returns those that are stored now, and how many differed."""
    stored = {id: point.payload for id, point in serving.store.fetch(collection, list(pictures)).items()}
    wanted = {id: _payload(pictures[id]) for id in stored}
    stale = {id: payload for id, payload in wanted.items() if payload != stored[id]}
    if stale:
        serving.store.set_payloads(collection, stale)
    return wanted, len(stale)


def _write(
    serving: Serving, target: Live, pictures: dict[str, Picture], failed: dict[str, Failure], renew: Callable[[], None]
) -> dict[str, int]:
    """Upserts what is missing in one collection and corrects what differs."""
    stored, stale = _relabel(serving, target.collection, pictures)
    missing = [id for id in pictures if id not in stored and id not in failed]
    points: list[Point] = []
    for start in range(0, len(missing), serving.decode_step):
        part = missing[start : start + serving.decode_step]
        prepared = list(serving.decoders.map(lambda id: _prepare(serving, target, pictures[id]), part))
        ready = {}
        for id, pixels in zip(part, prepared, strict=True):
            if isinstance(pixels, Failure):
                failed[id] = pixels
            else:
                ready[id] = pixels
        if ready:
            vectors = serving.batcher.embed(target.embedder, np.stack(list(ready.values())), urgent=False)
            points += [Point(id, v, _payload(pictures[id])) for id, v in zip(ready, vectors, strict=True)]
        renew()
    if points:
        serving.store.upsert(target.collection, points)
    return {"added": len(points), "updated": stale, "unchanged": len(stored) - stale}


def _prepare(serving: Serving, target: Live, picture: Picture) -> np.ndarray | Failure:
    """Decodes an original once: for its thumbnail, if it has none, and for the model."""
    serving.batcher.give_way()
    try:
        data = serving.gallery.original(picture.id)
        needs_thumbnail = not serving.gallery.has_thumbnail(picture.id)
        min_side = max(target.embedder.preprocessing.min_side, THUMBNAIL_PX if needs_thumbnail else 0)
        image = decode(data, min_side=min_side, limits=serving.limits)
    except UnreadableImage as error:
        return Failure(picture.path, error.message)
    except NotFound:
        return Failure(picture.path, "its original is missing from storage; index the file again")
    if needs_thumbnail:
        serving.gallery.put_thumbnail(picture.id, thumbnail(image, THUMBNAIL_PX))
    return target.embedder.preprocessing.apply(image)


def _catch_up(serving: Serving, pictures: dict[str, Picture], collections: set[str]) -> None:
    """Applies what was deleted or relabelled while we wrote: whoever does that changes the gallery before points."""
    now = serving.gallery.find_many(pictures)
    gone = [id for id in pictures if id not in now]
    changed = {id: _payload(p) for id, p in now.items() if p.label != pictures[id].label}
    for collection in collections if gone or changed else ():
        if gone:
            serving.store.delete(collection, gone)
        if changed:
            serving.store.set_payloads(collection, changed)


def _payload(picture: Picture) -> Payload:
    return Payload(picture.path, picture.label)
