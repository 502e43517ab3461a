"""Makes collections agree with the gallery, for some images: the one step behind index, label, delete and repair.

The gallery is changed first; then its ids come here. An image that exists gets its point or a corrected payload;
one that does not loses its point. Safe to run twice, and side by side with itself; what a run that was cut short has
done already counts as done by the run that repeats it.
"""

import contextlib
import functools
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field

import numpy as np

from ml.decoders import Prepared, Work
from ml.images import UnreadableImage
from ml.model.head import Head
from ml.records import Damaged
from ml.tuning.gallery_head import Conversion, share_features
from workers.errors import NotFound
from workers.gallery import DAMAGED
from workers.messages import Failure, GalleryImage
from workers.process.serving import Serving, ServingModel
from workers.queue.jobs import CHUNK
from workers.store import Payload, Point

logger = logging.getLogger(__name__)

THUMBNAIL_PX = 320
_RENEWED_S = 5.0
_FETCHED = 16  # vectors, between two searches
_PROJECTED = 256  # images of a chunk: a third of a second, most of it for what each chunk costs


@dataclass
class Outcome:
    """What happened to each id, and which originals turned out to be no images."""

    counts: dict[str, int] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def clean_up(self, serving: Serving) -> None:
        """Removes what was refused from the gallery. Called when the failures have been recorded, not before."""
        for id in self.refused:
            serving.gallery.forget(id)
            serving.gallery.sweep(id)


@dataclass(frozen=True)
class _Changes:
    """What brings one collection in line with the gallery."""

    stored: Sequence[str]
    removed: Sequence[str]
    stale: Mapping[str, Payload]
    missing: Sequence[str]


def reconcile(
    serving: Serving,
    ids: Sequence[str],
    target: ServingModel | None = None,
    *,
    renew: Callable[[], None] = lambda: None,
    intended: Callable[[], Mapping[str, str]] = dict,
    note_intent: Callable[[Mapping[str, str]], None] = lambda results: None,
) -> Outcome:
    """Brings the points of these ids in line with the gallery.

    Args:
        serving: this worker's models, store and gallery.
        ids: image ids, existing or not; at most a chunk.
        target: the only collection to work on; every live one if None. The counts are those of the first.
        renew: called now and then, to say that work goes on.
        intended: what other runs, cut short or still at it, were about to do to these ids: id -> added, updated or
            removed. Called after the collection was looked at, so that no change seen there is missing in it.
        note_intent: called with the same before anything is changed, to be kept for the next run.
    """
    wanted = list(dict.fromkeys(ids))
    failed: dict[str, Failure] = {}
    images = _readable(serving, serving.gallery.find_many(wanted), failed)
    gone = [id for id in wanted if id not in images and id not in failed]
    results: dict[str, str] = {}
    written: set[str] = set()
    # A collection may come to life while we write: whoever makes it counts on us to look again.
    while targets := [t for t in _targets(serving, target) if t.collection not in written]:
        for live in targets:
            with _unless_dropped(serving, live.collection, target):
                changes = _compare(serving, live.collection, images, gone)
                missing = [id for id in changes.missing if id not in failed]
                projected = project(serving, live, [images[id] for id in missing], renew)
                known = {point.id for point in projected}
                rest = [images[id] for id in missing if id not in known]
                points = projected + embed(serving, live, rest, failed, renew)
                if not written:
                    earlier = {id: result for id, result in intended().items() if id in wanted}
                    results = _results(changes, points, earlier)
                    note_intent(results)
                _apply(serving, live.collection, changes, points)
                written.add(live.collection)
    for collection in serving.retained() if target is None else ():
        with _unless_dropped(serving, collection, target):
            if serving.store.exists(collection):
                _apply(serving, collection, _compare(serving, collection, images, gone), [])
    for id in gone:
        serving.gallery.sweep(id)
    _catch_up(serving, images, written)
    refused = [id for id in failed if serving.gallery.is_intact(id)]
    counts = dict.fromkeys(("added", "updated", "removed"), 0) | Counter(results.values())
    counts["unchanged"] = len(ids) - len(results.keys() | failed.keys())
    return Outcome(counts, list(failed.values()), refused)


def _targets(serving: Serving, target: ServingModel | None) -> Sequence[ServingModel]:
    return serving.targets() if target is None else (target,)


@contextlib.contextmanager
def _unless_dropped(serving: Serving, collection: str, target: ServingModel | None) -> Iterator[None]:
    """Lets an error pass where the collection need not follow the gallery any more: its publish was stopped or refused,
    or no rollback can return to it. What was written of it is gone with it."""
    try:
        yield
    except Exception:  # a collection that goes in the midst of a call makes an engine say anything
        if target is not None:
            raise
        serving.refresh()
        if collection in {*serving.retained(), *(live.collection for live in serving.targets())}:
            raise
        logger.info("collection %s was dropped meanwhile", collection)


def _compare(serving: Serving, collection: str, images: Mapping[str, GalleryImage], gone: Sequence[str]) -> _Changes:
    points = serving.store.fetch(collection, [*images, *gone])
    payloads = {id: Payload.of(image) for id, image in images.items()}
    return _Changes(
        stored=list(points),
        removed=[id for id in gone if id in points],
        stale={id: payload for id, payload in payloads.items() if id in points and points[id].payload != payload},
        missing=[id for id in images if id not in points],
    )


def _readable(
    serving: Serving, images: Mapping[str, GalleryImage], failed: dict[str, Failure]
) -> dict[str, GalleryImage]:
    """The same with damaged metadata rebuilt, from the originals and from what the collections remember."""
    readable = dict(images)
    collections = [*(live.collection for live in serving.targets()), *serving.retained()]
    for id in [id for id, image in images.items() if image.state == DAMAGED]:
        del readable[id]
        points = (serving.store.fetch(name, [id]).get(id) for name in collections if serving.store.exists(name))
        payload = next((point.payload for point in points if point), Payload("", None))
        try:
            readable[id] = serving.gallery.rebuild(id, path=payload.path, label=payload.label)
            logger.warning("rebuilt the damaged metadata of image %s", id)
        except (Damaged, UnreadableImage) as error:
            failed[id] = Failure(payload.path or id, error.message)
        except NotFound:
            continue
    return readable


def chunk_size(serving: Serving, target: ServingModel) -> int:
    """How many images of a collection that is being built make a chunk: more where none is embedded."""
    return _PROJECTED if _is_projected(serving, target) else CHUNK


def project(
    serving: Serving, target: ServingModel, images: Sequence[GalleryImage], renew: Callable[[], None]
) -> list[Point]:
    """The points of images whose vectors the active collection holds, where a change of the head leads to the target's.

    Nothing is decoded or embedded. Fetched a few at a time: turning vectors into arrays keeps searches from running.
    """
    if not images or not _is_projected(serving, target):
        return []
    source = serving.active()
    found: dict[str, np.ndarray] = {}
    for start in range(0, len(images), _FETCHED):
        serving.batcher.yield_to_searches()
        part = [image.id for image in images[start : start + _FETCHED]]
        stored = serving.store.fetch(source.collection, part, with_vectors=True)
        found |= {id: point.vector for id, point in stored.items() if point.vector is not None}
        renew()
    if not found:
        return []
    # All at once: what a map of 1,280 x 1,280 takes for a few vectors is the reading of it.
    vectors = _conversion(source.embedder.head, target.embedder.head)(np.stack(list(found.values())))
    payloads = {image.id: Payload.of(image) for image in images}
    return [Point(id, vector, payloads[id]) for id, vector in zip(found, vectors, strict=True)]


@functools.lru_cache(maxsize=2)  # to undo a tuning, a matrix is inverted
def _conversion(before: Head, after: Head) -> Conversion:
    return Conversion(before, after)


def _is_projected(serving: Serving, target: ServingModel) -> bool:
    """Whether the vectors of the active collection can be made those of the target's."""
    source = serving.active()
    one, other = source.embedder, target.embedder
    return (
        source.collection != target.collection
        and one.bundle.has_network_of(other.bundle)
        and share_features(one.head, other.head)
    )


def embed(
    serving: Serving,
    target: ServingModel,
    images: Sequence[GalleryImage],
    failed: dict[str, Failure],
    renew: Callable[[], None],
) -> list[Point]:
    """The points of images, a few at a time. Those that cannot be embedded are noted in `failed`.

    While some are embedded the next ones are decoded. Thumbnails are durable when it returns, and so before any point.
    """
    step = serving.decode_step
    parts = [images[start : start + step] for start in range(0, len(images), step)]
    points: list[Point] = []
    thumbnails: dict[str, bytes] = {}
    coming = deque(_preparing(serving, target, part) for part in parts[:1])
    for number, part in enumerate(parts):
        coming.extend(_preparing(serving, target, following) for following in parts[number + 1 : number + 2])
        waiting = coming.popleft()
        while wait(waiting, _RENEWED_S).not_done:  # an image that takes long is no sign that this worker died
            renew()
        ready = []
        for image, prepared in zip(part, (each.result() for each in waiting), strict=True):
            if isinstance(prepared, Failure):
                failed[image.id] = prepared
                continue
            ready.append((image, prepared.pixels))
            if prepared.thumbnail:
                thumbnails[image.id] = prepared.thumbnail
        if ready:
            vectors = serving.batcher.embed(target.embedder, np.stack([pixels for _, pixels in ready]), urgent=False)
            points += [Point(p.id, v, Payload.of(p)) for (p, _), v in zip(ready, vectors, strict=True)]
        renew()
    serving.gallery.put_thumbnails(thumbnails)
    return points


def _preparing(
    serving: Serving, target: ServingModel, images: Sequence[GalleryImage]
) -> list["Future[Prepared | Failure]"]:
    return [serving.preparers.submit(_prepare, serving, target, image) for image in images]


def _results(changes: _Changes, points: Sequence[Point], intended: Mapping[str, str]) -> dict[str, str]:
    """What happens to each id that changes, as seen from before the first run."""
    stored = set(changes.stored)
    earlier = {id: result for id, result in intended.items() if (id in stored) == (result != "removed")}
    now = dict.fromkeys(changes.removed, "removed") | dict.fromkeys(changes.stale, "updated")
    return now | earlier | {point.id: "added" for point in points}


def _apply(serving: Serving, collection: str, changes: _Changes, points: Sequence[Point]) -> None:
    if changes.removed:
        serving.store.delete(collection, changes.removed)
    if changes.stale:
        serving.store.set_payloads(collection, changes.stale)
    if points:
        serving.store.upsert(collection, points)


def _prepare(serving: Serving, target: ServingModel, image: GalleryImage) -> Prepared | Failure:
    """Decodes an original once: for its thumbnail, if it has none, and for the model."""
    serving.batcher.yield_to_searches()
    try:
        data = serving.gallery.original(image.id)
        needs_thumbnail = not serving.gallery.has_thumbnail(image.id)
        wanted = Work(target.embedder.preprocessing, THUMBNAIL_PX if needs_thumbnail else None, serving.limits)
        return serving.decoders.decode(data, wanted)
    except (UnreadableImage, Damaged) as error:
        return Failure(image.path, error.message)
    except NotFound:
        return Failure(image.path, "it was deleted meanwhile")


def _catch_up(serving: Serving, images: dict[str, GalleryImage], collections: set[str]) -> None:
    """Applies what was deleted or relabelled while we wrote: whoever does that changes the gallery before points."""
    now = serving.gallery.find_many(images)
    gone = [id for id in images if id not in now]
    changed = {
        id: Payload.of(p) for id, p in now.items() if p.state != DAMAGED and Payload.of(p) != Payload.of(images[id])
    }
    for collection in collections if gone or changed else ():
        with _unless_dropped(serving, collection, None):
            if gone:
                serving.store.delete(collection, gone)
            if changed:
                serving.store.set_payloads(collection, changed)
    for id in gone:  # a thumbnail of it may have been made since its files were removed
        serving.gallery.sweep(id)
