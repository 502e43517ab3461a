"""Reading the gallery: images, originals, thumbnails, and what is in the trash."""

import contextlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Self

from ml.images import Limits
from ml.records import Damaged, DamageLog, Unlogged
from ml.storage import Hold, Storage, open_storage
from workers.errors import NotFound
from workers.gallery.image_records import is_id
from workers.gallery.metadata import Metadata
from workers.gallery.originals import AGAIN, Changed, Originals
from workers.gallery.originals import key as original_key
from workers.gallery.trash import Discarded, Trash
from workers.messages import GalleryImage, Skipped
from workers.settings import Settings

DAMAGED = "damaged"  # the state of an image whose metadata cannot be read


def limits(settings: Settings) -> Limits:
    """The settings' limits on images."""
    return Limits(
        max_bytes=settings.max_upload_mb * 2**20,
        max_pixels=settings.max_megapixels * 1_000_000,
        max_decode_s=settings.max_decode_seconds,
    )


class GalleryReader:
    """What can be asked of images in storage; nothing here changes one. Safe to use from many threads and processes.

    Args:
        storage: where they are kept.
        accepted: limits on what is added.
        log: told what is found damaged, and what is whole again.
        hold: locks a key between processes, for storage whose own locks hold within one: `SharedLocks.hold`.
    """

    def __init__(
        self,
        storage: Storage,
        accepted: Limits | None = None,
        log: DamageLog | None = None,
        hold: Hold | None = None,
    ) -> None:
        self._storage = storage
        self._limits = accepted or Limits()
        self._log = log or Unlogged()
        self._metadata = Metadata(storage, hold)
        self.trash = Trash(storage)
        self.originals = Originals(storage)

    @classmethod
    def open(cls, settings: Settings, log: DamageLog | None = None, hold: Hold | None = None) -> Self:
        return cls(open_storage(settings.storage_url), limits(settings), log, hold)

    def image(self, id: str) -> GalleryImage:
        """What is known of an image; little where that is damaged. Raises NotFound."""
        image = self._find(id)
        if image is None and self.trash.exists(id):
            raise NotFound(f"image {id} is in the trash", hint="restore it there to use it again")
        if image is None:
            raise NotFound(f"there is no image {id}", hint="it may have been deleted; search again")
        return image

    def skipped(self, id: str) -> Skipped:
        """Why nothing can be done with an image that somebody names."""
        try:
            image = self._find(id)
            discarded = self.trash.load(id) if image is None else None
        except Damaged:
            return Skipped(id, "", "what is known of it is damaged")
        if image is not None:
            return Skipped(id, image.name, "it is in the gallery")
        if discarded is not None:
            return Skipped(id, discarded.known.image.name, "it is in the trash")
        return Skipped(id, "", "it is not in the gallery any more" if is_id(id) else "no image has such an id")

    def find_many(self, ids: Iterable[str]) -> dict[str, GalleryImage]:
        """id -> image, for those that exist; their `state` says which are damaged."""
        ids = list(ids)
        if len(ids) > 4 and self._storage.local_path("") is None:
            with ThreadPoolExecutor(16) as pool:  # an object store answers in milliseconds, one after another
                found = list(pool.map(self._find, ids))
        else:
            found = [self._find(id) for id in ids]
        return {id: image for id, image in zip(ids, found, strict=True) if image is not None}

    def original(self, id: str) -> bytes:
        """The bytes as they came, compared with the id.

        Raises:
            NotFound: there is no such image.
            Damaged: its original is missing, or is not what the id was made of.
        """
        try:
            return self._original(id)
        except Damaged as damaged:
            self._log.found(damaged)
            raise

    def is_intact(self, id: str) -> bool:
        """Whether the original's bytes still are those that gave the id."""
        try:
            self._original(id)
        except (NotFound, Damaged):
            return False
        return True

    def thumbnail(self, id: str) -> bytes:
        """JPEG bytes. Raises NotFound."""
        if is_id(id):
            with contextlib.suppress(FileNotFoundError):
                return self._storage.get(thumbnail_key(id))
        raise NotFound(f"there is no image {id}", hint="it may have been deleted; search again")

    def has_thumbnail(self, id: str) -> bool:
        return self._storage.exists(thumbnail_key(id))

    def view(self, id: str) -> bytes | None:
        """A large copy as JPEG, None when nobody has made one yet."""
        if is_id(id):
            with contextlib.suppress(FileNotFoundError):
                return self._storage.get(view_key(id))
        return None

    def discarded(self, prefix: str = "") -> Iterator[Discarded]:
        """What is in the trash, in order of ids; damaged records are passed over."""
        for id in self.trash.ids(prefix):
            discarded = self._discarded(id)
            if discarded is not None and not self._metadata.exists(id):
                yield discarded

    def ids(self, prefix: str = "") -> Iterator[str]:
        """The ids of images, in order; only those whose first two digits are `prefix`, if given."""
        return self._metadata.ids(prefix)

    def _original(self, id: str) -> bytes:
        try:
            if is_id(id):
                return self.originals.read(id)
        except (FileNotFoundError, Damaged) as error:
            known = self._metadata.load(id)
            if known is not None and known.reference is not None:
                return known.reference.read(id)
            if known is not None and isinstance(error, FileNotFoundError):
                raise Damaged(f"the original of image {id} is missing", hint=AGAIN, key=original_key(id)) from error
            if isinstance(error, Damaged):
                raise
        raise NotFound(f"there is no image {id}", hint="it may have been deleted; search again")

    def _discarded(self, id: str) -> Discarded | None:
        try:
            return self.trash.load(id)
        except Damaged as damaged:
            self._log.found(damaged)
            return None

    def _find(self, id: str) -> GalleryImage | None:
        try:
            known = self._metadata.load(id)
        except Damaged as damaged:
            self._log.found(damaged)
            return GalleryImage(id, id, "", None, 0, 0, "", 0, 0.0, state=DAMAGED)
        if known is None or known.reference is None:
            return None if known is None else known.image
        try:
            known.reference.check(id)
        except Changed as changed:
            self._log.found(changed)
            return replace(known.image, state=changed.state)
        return known.image


def thumbnail_key(id: str) -> str:
    """Of the thumbnail in storage."""
    return f"thumbnails/{id[:2]}/{id}.jpg"


def view_key(id: str) -> str:
    """Of the large copy in storage."""
    return f"views/{id[:2]}/{id}.jpg"
