"""Makes collections agree with the gallery, for some pictures: the one step behind index, label, delete and repair.

The gallery is changed first; then its ids come here. A picture that exists gets its point or a corrected payload;
one that does not loses its point. Safe to run twice, and side by side with itself.
"""

from collections.abc import Callable, Iterable, Sequence
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

    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("added", "unchanged", "updated", "removed"), 0)
    )
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
    targets: Sequence[Live] | None = None,
    renew: Callable[[], None] = lambda: None,
) -> Outcome:
    """Brings the points of these ids in line with the gallery.

    Args:
        serving: this worker's models, store and gallery.
        ids: picture ids, existing or not; at most a chunk.
        targets: collections to work on; all live ones if None. The counts are those of the first.
        renew: called now and then, to say that work goes on.
    """
    outcome = Outcome()
    targets = serving.targets() if targets is None else targets
    ids = list(dict.fromkeys(ids))
    pictures = serving.gallery.find_many(ids)
    _remove(serving, [id for id in ids if id not in pictures], targets, outcome)
    failed: dict[str, Failure] = {}
    for position, target in enumerate(targets):
        counts = _write(serving, target, pictures, failed, renew)
        if position == 0:
            for name, count in counts.items():
                outcome.counts[name] += count
    outcome.failures = list(failed.values())
    outcome.refused = [id for id in failed if serving.gallery.is_intact(id)]
    _catch_up(serving, pictures, targets)
    return outcome


def _remove(serving: Serving, gone: list[str], targets: Iterable[Live], outcome: Outcome) -> None:
    if not gone:
        return
    for position, target in enumerate(targets):
        present = len(serving.store.fetch(target.collection, gone))
        if present:
            serving.store.delete(target.collection, gone)
        if position == 0:
            outcome.counts["removed"] += present
            outcome.counts["unchanged"] += len(gone) - present
    for id in gone:
        serving.gallery.sweep(id)


def _write(
    serving: Serving, target: Live, pictures: dict[str, Picture], failed: dict[str, Failure], renew: Callable[[], None]
) -> dict[str, int]:
    """Upserts what is missing in one collection and corrects what differs."""
    stored = serving.store.fetch(target.collection, list(pictures))
    wanted = {id: Payload(picture.path, picture.label) for id, picture in pictures.items()}
    stale = {id: wanted[id] for id, point in stored.items() if point.payload != wanted[id]}
    if stale:
        serving.store.set_payloads(target.collection, stale)
    missing = [id for id in pictures if id not in stored and id not in failed]
    step = serving.decode_step
    ready: list[str] = []
    vectors: list[np.ndarray] = []
    for start in range(0, len(missing), step):
        part = missing[start : start + step]
        prepared = list(serving.decoders.map(lambda id: _prepare(serving, target, pictures[id]), part))
        for id, pixels in zip(part, prepared, strict=True):
            if isinstance(pixels, Failure):
                failed[id] = pixels
        pixels_of = {id: p for id, p in zip(part, prepared, strict=True) if not isinstance(p, Failure)}
        if pixels_of:
            vectors.append(serving.batcher.embed(target.embedder, np.stack(list(pixels_of.values())), urgent=False))
            ready.extend(pixels_of)
        renew()
    if ready:
        points = [Point(id, vector, wanted[id]) for id, vector in zip(ready, np.concatenate(vectors), strict=True)]
        serving.store.upsert(target.collection, points)
    return {"added": len(ready), "updated": len(stale), "unchanged": len(stored) - len(stale)}


def _prepare(serving: Serving, target: Live, picture: Picture) -> np.ndarray | Failure:
    """Decodes an original once: for its thumbnail, if it has none, and for the model."""
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


def _catch_up(serving: Serving, pictures: dict[str, Picture], targets: Iterable[Live]) -> None:
    """Applies what was deleted or relabelled while we wrote: whoever does that changes the gallery before points."""
    now = serving.gallery.find_many(pictures)
    gone = [id for id in pictures if id not in now]
    changed = {id: Payload(p.path, p.label) for id, p in now.items() if p.label != pictures[id].label}
    for target in targets:
        if gone:
            serving.store.delete(target.collection, gone)
        if changed:
            serving.store.set_payloads(target.collection, changed)
