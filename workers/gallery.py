"""The gallery in storage: originals, their metadata, thumbnails. This is the truth; collections are made from it.

An image's id is the first 32 hex digits of the SHA-256 of its bytes, so adding twice changes nothing. An image exists
when its metadata does: it is written last and removed first.

    originals/ab/<id>        the bytes as they came
    thumbnails/ab/<id>.jpg   re-encoded, without metadata
    metadata/ab/<id>.json    a messages.GalleryImage, and who gave the label
"""

import contextlib
import hashlib
import json
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from ml.images import Limits, UnreadableImage, probe
from ml.storage import Storage, open_storage
from workers.errors import NotFound
from workers.messages import GalleryImage
from workers.settings import Settings


@dataclass(frozen=True)
class Added:
    """What `Gallery.add` did. `is_new` is False when the same bytes with the same label were there already."""

    id: str
    is_new: bool


def image_id(data: bytes) -> str:
    """The id of an image: the first 32 hex digits of the SHA-256 of its bytes."""
    return hashlib.sha256(data).hexdigest()[:32]


def limits(settings: Settings) -> Limits:
    """The settings' limits on images."""
    return Limits(max_bytes=settings.max_upload_mb * 2**20, max_pixels=settings.max_megapixels * 1_000_000)


class Gallery:
    """Images in storage. Safe to use from many threads and processes."""

    def __init__(self, storage: Storage, accepted: Limits | None = None) -> None:
        self._storage = storage
        self._limits = accepted or Limits()

    @classmethod
    def open(cls, settings: Settings) -> "Gallery":
        return cls(open_storage(settings.storage_url), limits(settings))

    def add(self, source: bytes | Path, *, path: str, label: str | None, by_person: bool = False) -> Added:
        """Keeps an image durably.

        Args:
            source: its bytes, or a file, which the storage may share by a hard link.
            path: where it came from, to show.
            label: its class, or None.
            by_person: a person chose the label, not a folder's name: a folder's name never replaces such a label.

        Raises:
            UnreadableImage: it is no image that we accept, as far as its header tells.
            StorageFailed: the storage refuses.
        """
        data = source if isinstance(source, bytes) else self._read_file(source)
        info = probe(data, self._limits)
        id = image_id(data)
        known = self._find(id)
        if known is not None:
            image, labelled_by_person = known
            keeps_label = label is None or label == image.label or (labelled_by_person and not by_person)
            if not keeps_label:
                self._write(replace(image, label=label), by_person)
            return Added(id, is_new=False)
        if isinstance(source, Path):
            self._storage.adopt(_original(id), source)
        else:
            self._storage.put(_original(id), data)
        self._write(
            GalleryImage(
                id=id,
                name=PurePath(path).name,
                path=path,
                label=label,
                width=info.width,
                height=info.height,
                format=info.format,
                bytes=len(data),
                added_at=time.time(),
            ),
            by_person,
        )
        return Added(id, is_new=True)

    def image(self, id: str) -> GalleryImage:
        """What is known of an image. Raises NotFound."""
        known = self._find(id)
        if known is None:
            raise NotFound(f"there is no image {id}", hint="it may have been deleted; search again")
        return known[0]

    def find_many(self, ids: Iterable[str]) -> dict[str, GalleryImage]:
        """id -> image, for those that exist."""
        ids = list(ids)
        if len(ids) > 4 and self._storage.local_path("") is None:
            with ThreadPoolExecutor(16) as pool:  # an object store answers in milliseconds, one after another
                found = list(pool.map(self._find, ids))
        else:
            found = [self._find(id) for id in ids]
        return {id: known[0] for id, known in zip(ids, found, strict=True) if known is not None}

    def original(self, id: str) -> bytes:
        """The bytes as they came. Raises NotFound."""
        return self._read(_original(id), id)

    def is_intact(self, id: str) -> bool:
        """Whether the original's bytes still are those that gave the id."""
        try:
            return image_id(self._storage.get(_original(id))) == id
        except FileNotFoundError:
            return False

    def thumbnail(self, id: str) -> bytes:
        """JPEG bytes. Raises NotFound."""
        return self._read(_thumbnail(id), id)

    def has_thumbnail(self, id: str) -> bool:
        return self._storage.exists(_thumbnail(id))

    def put_thumbnail(self, id: str, data: bytes) -> None:
        self._storage.put(_thumbnail(id), data)

    def set_label(self, id: str, label: str | None) -> None:
        """Gives an image the label that a person chose. Raises NotFound."""
        self._write(replace(self.image(id), label=label), by_person=True)

    def forget(self, id: str) -> None:
        """Removes an image's metadata: from here on it does not exist. `sweep` removes the rest."""
        self._storage.delete(_metadata(id))

    def sweep(self, id: str) -> None:
        """Removes original and thumbnail of an image that does not exist any more."""
        if not self._storage.exists(_metadata(id)):
            self._storage.delete(_thumbnail(id))
            self._storage.delete(_original(id))

    def ids(self, prefix: str = "") -> Iterator[str]:
        """The ids of images, in order; only those whose first two digits are `prefix`, if given."""
        for key in self._storage.keys(f"metadata/{prefix}".rstrip("/")):
            yield PurePath(key).stem

    def _find(self, id: str) -> tuple[GalleryImage, bool] | None:
        if not _is_id(id):
            return None
        try:
            record = json.loads(self._storage.get(_metadata(id)))
        except FileNotFoundError:
            return None
        return GalleryImage.from_json(record), bool(record.get("labelled_by_person"))

    def _write(self, image: GalleryImage, by_person: bool) -> None:
        record = image.to_json() | {"labelled_by_person": by_person}
        self._storage.put(_metadata(image.id), json.dumps(record, ensure_ascii=False).encode())

    def _read(self, key: str, id: str) -> bytes:
        if _is_id(id):
            with contextlib.suppress(FileNotFoundError):
                return self._storage.get(key)
        raise NotFound(f"there is no image {id}", hint="it may have been deleted; search again")

    def _read_file(self, path: Path) -> bytes:
        try:
            if path.stat().st_size > self._limits.max_bytes:
                size_mb, limit_mb = path.stat().st_size / 2**20, self._limits.max_bytes / 2**20
                raise UnreadableImage(f"is {size_mb:.0f} MB, the limit is {limit_mb:.0f} MB")
            return path.read_bytes()
        except OSError as error:
            raise UnreadableImage(f"cannot be read: {error.strerror or error}") from error


def _is_id(id: str) -> bool:
    """Ids come from outside and become part of a path."""
    return len(id) == 32 and all(digit in "0123456789abcdef" for digit in id)


def _original(id: str) -> str:
    return f"originals/{id[:2]}/{id}"


def _thumbnail(id: str) -> str:
    return f"thumbnails/{id[:2]}/{id}.jpg"


def _metadata(id: str) -> str:
    return f"metadata/{id[:2]}/{id}.json"
