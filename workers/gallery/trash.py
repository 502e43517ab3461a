"""What was deleted and can come back: the records of images in the trash.

trash/ab/<id>.json    what the metadata said, and when the image was deleted

Only the record moves: original and thumbnail stay where they are for as long as it exists, so nothing large is copied
and no crash falls between. An image that has metadata exists, whatever a record here says: such a record is left over
from a deletion or a restoration that was cut short.
"""

import time
from dataclasses import dataclass
from typing import Any

from ml import records
from ml.records import Moment
from ml.storage import Storage
from workers.gallery import metadata
from workers.gallery.image_records import ImageRecords
from workers.gallery.metadata import Known, to_record
from workers.messages import TrashedImage

FOLDER = "trash"
DAY_S = 86_400.0


@dataclass(frozen=True)
class _Deleted:
    """What a record holds besides the metadata."""

    deleted_at: Moment


@dataclass(frozen=True)
class Discarded:
    """What is known of an image in the trash, and when it came there, in seconds since 1970."""

    known: Known
    deleted_at: float

    def shown(self, days: int) -> TrashedImage:
        """As it is listed, where the trash keeps images for so many days."""
        image = self.known.image
        return TrashedImage(
            id=image.id,
            name=image.name,
            path=image.path,
            label=image.label,
            width=image.width,
            height=image.height,
            format=image.format,
            bytes=image.bytes,
            added_at=image.added_at,
            deleted_at=self.deleted_at,
            expires_at=self.deleted_at + days * DAY_S,
        )


class Trash(ImageRecords[Discarded]):
    """The records in storage. Whoever moves an image here or back holds the lock of its metadata."""

    def __init__(self, storage: Storage) -> None:
        super().__init__(storage, FOLDER, parsed)

    def write(self, known: Known) -> None:
        """Puts an image here, as deleted now."""
        self.put(known.image.id, to_record(known) | {"deleted_at": time.time()})


def parsed(id: str, record: Any) -> Discarded:
    """What a record holds. Raises ValueError for what is none of this image."""
    return Discarded(metadata.parsed(id, record), records.typed(_Deleted, record).deleted_at)
