"""What is known of each image, as records in storage, read through the checked reader.

metadata/ab/<id>.json    a messages.GalleryImage, who gave the label, and where the original is if it stays in place
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated, Any

from msgspec import Meta

from ml import records
from ml.records import Count, Moment, Text
from ml.storage import Hold, Storage, lock_between
from workers.gallery.image_records import ImageRecords, record_key
from workers.gallery.originals import Reference
from workers.messages import GalleryImage

FOLDER = "metadata"
_FOUND_OUT = ("state", "is_in_place")  # by each reader anew


@dataclass(frozen=True)
class _Record:
    """What a record holds, for `records.typed`."""

    id: str
    name: Text
    path: Text
    label: Text | None
    width: Annotated[int, Meta(ge=0, le=2**31)]
    height: Annotated[int, Meta(ge=0, le=2**31)]
    format: Annotated[str, Meta(max_length=32)]
    bytes: Count
    added_at: Moment
    taken_at: Annotated[float, Meta(ge=-62_135_596_800, le=253_402_300_799)] | None = None
    labelled_by_person: bool = False
    in_place: Reference | None = None


@dataclass(frozen=True)
class Known:
    """What metadata says: the image, whether a person gave its label, and where it is if it stays in place."""

    image: GalleryImage
    by_person: bool
    reference: Reference | None = None


class Metadata(ImageRecords[Known]):
    """The records in storage. Safe to use from many threads and processes."""

    def __init__(self, storage: Storage, hold: Hold | None = None) -> None:
        super().__init__(storage, FOLDER, parsed)
        self._lock = lock_between(storage, hold)

    def lock(self, id: str) -> AbstractContextManager[None]:
        """To be held from reading to writing."""
        return self._lock(key(id))

    def write(self, known: Known) -> None:
        self.put(known.image.id, to_record(known))


def key(id: str) -> str:
    """Of the record in storage."""
    return record_key(FOLDER, id)


def to_record(known: Known) -> dict[str, Any]:
    """What is written of an image, as plain JSON types."""
    record = known.image.to_json() | {"labelled_by_person": known.by_person}
    record = {name: fact for name, fact in record.items() if name not in _FOUND_OUT}
    if known.reference is not None:
        record["in_place"] = known.reference.to_json()
    return record


def parsed(id: str, record: Any) -> Known:
    """The inverse of `to_record`. Raises ValueError for what is no record of this image."""
    facts = records.typed(_Record, record)
    records.check_text(facts.name, facts.path, facts.label, facts.format)
    if facts.id != id:
        raise ValueError(f"it is that of image {facts.id!r}")
    if facts.in_place is not None and not facts.in_place.sha256.startswith(id):
        raise ValueError("its reference is that of another image")
    image = GalleryImage(
        id=id,
        name=facts.name,
        path=facts.path,
        label=facts.label,
        width=facts.width,
        height=facts.height,
        format=facts.format,
        bytes=facts.bytes,
        added_at=facts.added_at,
        is_in_place=facts.in_place is not None,
        taken_at=facts.taken_at,
    )
    return Known(image, facts.labelled_by_person, facts.in_place)
