"""Compares the gallery with a collection, a 256th at a time: images whose ids start with the same two digits.

What is looked at: whether every image has its point and every point its image; whether metadata, originals and the
registry's files are what was written; whether vectors are of unit length, and a sample of them what the model gives
now. Where one is not, all of its 256th are computed anew.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ml.model.registry import Active
from ml.records import Damaged
from workers.errors import NotFound
from workers.gallery import DAMAGED
from workers.gallery.metadata import key as metadata_key
from workers.gallery.originals import key as original_key
from workers.messages import Failure, Finding, GalleryImage
from workers.process.serving import Serving
from workers.queue.jobs import Chunk
from workers.store import Payload, Point, points_with_prefix
from workers.tasks.reconcile import embed

_SAMPLE = 0.01  # of vectors that are compared with fresh ones, at least one in each 256th
_SAME_COSINE = 0.99  # devices and precisions differ by less: ml.model.bundle
_LENGTH_TOLERANCE = 1e-3
_PAGE = 200
_NAMED = 100  # findings of a kind in a chunk; the counts tell of all

COUNTS = ("missing", "extra", "different", "damaged", "wrong", "lost", "linked")


@dataclass
class Comparison:
    """What differs.

    Attributes:
        counts: `done` and `total` images looked at; points `missing` from the collection, `extra` in it, `different` in
            their payloads; files `damaged` and mendable; `wrong` vectors; originals and models `lost`, which only their
            owner can bring back; originals `linked` to a file that may be edited.
        ids: of images whose points a reconciliation brings in line.
        findings: what to name.
    """

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("total", "done", *COUNTS), 0))
    ids: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def name(self, kind: str, key: str, path: str, reason: str) -> None:
        """Counts something, and names it unless many of its kind are named already."""
        self.counts[kind] += 1
        if self.counts[kind] <= _NAMED:
            self.findings.append(Finding(kind, key, path, reason))


def compare(serving: Serving, chunk: Chunk, renew: Callable[[], None]) -> Comparison:
    """Finds what differs, and mends what needs no reconciliation.

    Args:
        serving: this worker's store and gallery.
        chunk: items are of PREFIXES. Of its params, `repair` says to mend, `quick` to look at no original and no
            vector; `collection` is one that is being built, of which only the points are looked at.
        renew: called now and then, to say that work goes on.
    """
    found = Comparison()
    is_build = "collection" in chunk.params
    for item in chunk.items:
        prefix = item.removeprefix("prefix:")
        _compare_prefix(serving, chunk, prefix, found, renew)
        if prefix == "00" and not is_build:
            _check_registry(serving, found, repair=bool(chunk.params.get("repair")))
        renew()
    if is_build:  # its total counts what is embedded
        found.counts["total"] = found.counts["done"] = 0
    return found


def _compare_prefix(serving: Serving, chunk: Chunk, prefix: str, found: Comparison, renew: Callable[[], None]) -> None:
    is_build, is_quick = "collection" in chunk.params, bool(chunk.params.get("quick"))
    collection = chunk.params.get("collection") or serving.active().collection
    known = list(serving.gallery.ids(prefix))
    points = points_with_prefix(serving.store, collection, prefix)
    # What a new collection lacks is not read only to be compared.
    images = serving.gallery.find_many(points.keys() & known if is_build else known)
    sound = {id: image for id, image in images.items() if image.state != DAMAGED}
    lost: Mapping[str, str] = {}
    if not is_build:
        lost = _lost(serving, sound, is_quick=is_quick, renew=renew)
        for id in images.keys() - sound.keys():
            path = points[id].payload.path if id in points else id
            found.name("damaged", metadata_key(id), path, "its metadata is damaged")
            found.ids.append(id)
        for id, reason in lost.items():
            found.name("lost", original_key(id), sound[id].path, reason)
        _check_links(serving, [id for id in sound if id not in lost], chunk, found)
        _settle(serving, prefix, sound, lost, is_quick=is_quick)
    different = [id for id, p in sound.items() if id in points and points[id].payload != Payload.of(p)]
    missing = [id for id in (known if is_build else sound) if id not in points and id not in lost]
    extra = [id for id in points if id not in images]
    for kind, ids in (("missing", missing), ("extra", extra), ("different", different)):
        found.counts[kind] += len(ids)
        found.ids += ids
    found.counts["total"] += len(images)
    found.counts["done"] += len(images)
    if not is_build and not is_quick:
        embedded = {id: image for id, image in sound.items() if id in points and id not in lost}
        _check_vectors(serving, embedded, chunk, prefix, found, renew)


def _lost(
    serving: Serving, images: Mapping[str, GalleryImage], *, is_quick: bool, renew: Callable[[], None]
) -> dict[str, str]:
    """id -> why its original is not there as it was."""
    lost = {}
    for number, (id, image) in enumerate(images.items(), 1):
        if is_quick and image.state == "ok":
            continue
        try:
            serving.gallery.original(id)
        except Damaged as damaged:
            lost[id] = damaged.message
        except NotFound:  # deleted meanwhile
            continue
        if number % 20 == 0:
            renew()
    return lost


def _check_links(serving: Serving, ids: Sequence[str], chunk: Chunk, found: Comparison) -> None:
    """Finds originals that an earlier version shares with the user's own files, and makes copies of them."""
    for id in ids:
        if serving.gallery.originals.is_linked(id):
            found.counts["linked"] += 1
            if chunk.params.get("repair") and not chunk.params.get("quick"):
                serving.gallery.originals.unlink(id)


def _check_registry(serving: Serving, found: Comparison, *, repair: bool) -> None:
    damaged = serving.registry.damaged()
    for each in damaged:
        serving.log.found(each)
        is_model = each.key.endswith("/model.json")
        found.name("lost" if is_model else "damaged", each.key, each.key, each.message)
    if repair and damaged:
        live = serving.active()
        serving.registry.repair(Active(live.model, live.collection, 0.0))
    for key in set(serving.log.known()) - {each.key for each in damaged}:
        if key.startswith("models/"):
            serving.log.mended(key)


def _settle(
    serving: Serving, prefix: str, sound: Mapping[str, GalleryImage], lost: Mapping[str, str], *, is_quick: bool
) -> None:
    """Strikes out what was found damaged once and has turned out whole."""
    folders = (f"metadata/{prefix}/",) if is_quick else (f"metadata/{prefix}/", f"originals/{prefix}/")
    damaged = {metadata_key(id) for id in serving.gallery.ids(prefix) if id not in sound}
    damaged |= {original_key(id) for id in lost}
    for key in set(serving.log.known()) - damaged:
        if key.startswith(folders):
            serving.log.mended(key)


def _check_vectors(
    serving: Serving,
    images: Mapping[str, GalleryImage],
    chunk: Chunk,
    prefix: str,
    found: Comparison,
    renew: Callable[[], None],
) -> None:
    live = serving.active()
    stored = dict(_vectors(serving, live.collection, list(images)))
    off = {id for id in images if id not in stored}
    off |= {id for id, vector in stored.items() if not abs(float(np.linalg.norm(vector)) - 1) < _LENGTH_TOLERANCE}
    count = min(len(stored), max(1, round(_SAMPLE * len(stored))))
    sample = random.Random(f"{chunk.job} {prefix}").sample(sorted(stored), count)  # noqa: S311 - no secret

    def fresh(ids: Sequence[str]) -> list[Point]:
        failed: dict[str, Failure] = {}
        return embed(serving, live, [images[id] for id in ids], failed, renew)

    def is_wrong(point: Point) -> bool:
        return point.id in off or not float(point.vector @ stored[point.id]) > _SAME_COSINE

    points = fresh(sorted({*off, *sample}))
    wrong = [point for point in points if is_wrong(point)]
    if wrong:
        looked_at = {point.id for point in points}
        wrong += [point for point in fresh([id for id in stored if id not in looked_at]) if is_wrong(point)]
    for point in wrong:
        found.name("wrong", point.id, point.payload.path, "its vector is not what the model gives")
    if wrong and chunk.params.get("repair"):
        serving.store.upsert(live.collection, wrong)


def _vectors(serving: Serving, collection: str, ids: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    for start in range(0, len(ids), _PAGE):
        page = serving.store.fetch(collection, ids[start : start + _PAGE], with_vectors=True)
        yield from ((id, point.vector) for id, point in page.items() if point.vector is not None)
