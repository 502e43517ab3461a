"""What a model that is being published would answer, beside what the active one does: before searches are switched.

The queries are those that were saved, then images that people have answered about, then a fair draw from the gallery.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ml.decoders import Work
from ml.images import UnreadableImage
from ml.storage import open_storage
from workers.answers import Answers
from workers.errors import NotFound
from workers.messages import GalleryImage, PreviewedHit, PreviewedQuery
from workers.process.serving import Serving, ServingModel
from workers.saved_queries import SavedQueries
from workers.store import Hit

_SHOWN = 6  # answers to each query
_ASKED = 40  # queries at most
_DRAWN = 12  # queries at least, where the gallery has so many


def preview(serving: Serving, new: ServingModel) -> list[PreviewedQuery]:
    """The answers of both models to each query."""
    storage = open_storage(serving.settings.storage_url)
    saved, answers = SavedQueries(storage), Answers(storage)
    active = serving.active()
    shown = []
    for id, name, source in _queries(serving, saved, answers):
        try:
            photo = saved.photo(id) if source == "photo" else None
            before, after = (_answer(serving, live, id, photo) for live in (active, new))
        except (NotFound, UnreadableImage):
            continue
        if before is None or after is None:
            continue
        about = answers.about(id)
        label = next(iter(serving.gallery.find_many([id]).values()), None)
        shown.append(_compared(id, name, source, before, after, about, label))
    return shown


def _queries(serving: Serving, saved: SavedQueries, answers: Answers) -> Iterator[tuple[str, str, str]]:
    """Id, name and source of each query, none twice."""
    seen: set[str] = set()
    for query in saved.all()[:_ASKED]:
        seen.add(query.id)
        yield query.id, query.name, "photo" if query.is_photo else "saved"
    latest = [id for answer in reversed(answers.all()) for id in answer.pair]
    for id in dict.fromkeys(latest):
        if len(seen) >= _ASKED:
            return
        if id not in seen and (image := serving.gallery.find_many([id]).get(id)):
            seen.add(id)
            yield id, image.name, "answered"
    ids = list(serving.gallery.ids())  # hashes: every so many of them is a fair draw
    for id in ids[:: max(1, len(ids) // _DRAWN)]:
        if len(seen) >= _DRAWN:
            return
        if id not in seen and (image := serving.gallery.find_many([id]).get(id)):
            seen.add(id)
            yield id, image.name, "drawn"


def _answer(serving: Serving, live: ServingModel, id: str, photo: bytes | None) -> list[Hit] | None:
    """The nearest images but the query itself; None when it has no vector."""
    stored = serving.store.fetch(live.collection, [id], with_vectors=True).get(id)
    vector = stored.vector if stored is not None else None
    if vector is None:
        if photo is None:
            return None
        work = Work(live.embedder.preprocessing, limits=serving.limits)
        pixels = serving.decoders.decode(photo, work).pixels
        vector = serving.batcher.embed(live.embedder, np.asarray(pixels)[None], urgent=False)[0]
    return [hit for hit in serving.store.query(live.collection, vector, _SHOWN + 1) if hit.id != id][:_SHOWN]


def _compared(
    id: str,
    name: str,
    source: str,
    before: Sequence[Hit],
    after: Sequence[Hit],
    about: Mapping[str, bool],
    query: GalleryImage | None,
) -> PreviewedQuery:
    label = query.label if query else None

    def is_right(hit: Hit) -> bool | None:
        if hit.id in about:
            return about[hit.id]
        return hit.payload.label == label if label and hit.payload.label else None

    old, new = ({hit.id: rank for rank, hit in enumerate(hits, 1)} for hits in (before, after))
    return PreviewedQuery(
        id=id,
        name=name,
        source=source,
        label=label,
        before=tuple(_hit(hit, old[hit.id], new.get(hit.id), "lost", is_right(hit)) for hit in before),
        after=tuple(_hit(hit, new[hit.id], old.get(hit.id), "gained", is_right(hit)) for hit in after),
        right_before=sum(is_right(hit) is True for hit in before),
        right_after=sum(is_right(hit) is True for hit in after),
    )


def _hit(hit: Hit, rank: int, other: int | None, alone: str, is_right: bool | None) -> PreviewedHit:
    change = alone if other is None else "same" if other == rank else "moved"
    return PreviewedHit(
        hit.id, hit.payload.path, hit.payload.label, round(hit.similarity, 6), rank, other, change, is_right
    )
