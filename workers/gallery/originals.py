"""Originals: the very bytes that were added, as copies in storage or in place, where their owner keeps them.

An id is made of the bytes, so every reading is checked against it: what was changed, damaged or removed since is an
error that says so, never the wrong photo.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Annotated, Any

from msgspec import Meta

from ml import files
from ml.records import Count, Damaged, Sha256, Text
from ml.storage import Storage, StorageFailed

AGAIN = "index the file again, or delete the image"


def image_id(data: bytes) -> str:
    """The id of an image: the first 32 hex digits of the SHA-256 of its bytes."""
    return hashlib.sha256(data).hexdigest()[:32]


class Changed(Damaged):
    """A photo that was to stay in place is there no more as it was: `state` is changed or missing."""

    state = "changed"


class Missing(Changed):
    """A photo that was to stay in place is gone."""

    state = "missing"


@dataclass(frozen=True)
class Reference:
    """A photo that stays where its owner keeps it, and how its file was when it was indexed."""

    path: Text
    size: Count
    mtime_ns: Annotated[int, Meta(ge=-(2**62), le=2**62)]
    sha256: Sha256

    @classmethod
    def to(cls, path: Path, data: bytes) -> "Reference":
        """To a file that holds `data` now. Raises OSError when it is gone."""
        status = path.stat()
        return cls(str(path), status.st_size, status.st_mtime_ns, hashlib.sha256(data).hexdigest())

    def to_json(self) -> dict[str, Any]:
        """A dict of plain JSON types."""
        return asdict(self)

    def read(self, id: str) -> bytes:
        """The photo. Raises Changed and Missing."""
        try:
            data = files.read_regular(Path(self.path))
        except OSError as error:
            raise self._missing(id, error) from error
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise self._changed(id)
        return data

    def check(self, id: str) -> None:
        """Whether the file is as it was: by size and time, and by its content where these differ.

        Raises Changed and Missing.
        """
        try:
            status = Path(self.path).stat()
        except OSError as error:
            raise self._missing(id, error) from error
        if status.st_size != self.size:
            raise self._changed(id)
        if status.st_mtime_ns != self.mtime_ns:
            self.read(id)

    def _changed(self, id: str) -> Changed:
        return Changed(f"{self.shown_path} has changed since it was indexed in place", hint=AGAIN, key=key(id))

    def _missing(self, id: str, error: OSError) -> Missing:
        reason = "is no longer there" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        return Missing(f"{self.shown_path}, indexed in place, {reason}", hint=AGAIN, key=key(id))

    @property
    def shown_path(self) -> str:
        """The path as text that can be stored and shown, whatever bytes the file system holds."""
        return os.fsencode(self.path).decode("utf-8", "replace")


class Originals:
    """The copies in storage. Safe to use from many threads and processes."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def put(self, id: str, data: bytes, source: Path | None) -> None:
        """Keeps a copy, which shares blocks of the disk with the file that it came from where the disk can."""
        self._storage.put(key(id), data, same_as=source)

    def exists(self, id: str) -> bool:
        return self._storage.exists(key(id))

    def read(self, id: str) -> bytes:
        """The bytes as they came. Raises FileNotFoundError when there is no copy, Damaged when it is another one."""
        data = self._storage.get(key(id))
        if image_id(data) != id:
            raise Damaged(f"the original of image {id} is damaged", hint=AGAIN, key=key(id))
        return data

    def holds(self, id: str, size: int) -> bool:
        """Whether a whole copy of its own is there. Elsewhere than on this machine, by its size.

        A file with a second name is not our own: until 0.1.0 photos were linked, and whoever edits them in place edits
        the original, too.
        """
        if self._storage.size(key(id)) != size or self.is_linked(id):
            return False
        if self._storage.local_path("") is None:
            return True
        try:
            self.read(id)
        except (FileNotFoundError, Damaged, StorageFailed):
            return False
        return True

    def is_linked(self, id: str) -> bool:
        """Whether the copy's file has a second name, under which it can be changed."""
        path = self._storage.local_path(key(id))
        try:
            return path is not None and path.stat().st_nlink > 1
        except OSError:
            return False

    def unlink(self, id: str) -> None:
        """Makes the copy's file one of its own. Raises FileNotFoundError and Damaged."""
        self.put(id, self.read(id), self._storage.local_path(key(id)))

    def delete(self, id: str) -> None:
        self._storage.delete(key(id))

    def ids(self, prefix: str = "") -> Iterator[str]:
        """Of every copy, also of left-overs; only those whose first two digits are `prefix`, if given."""
        for name in self._storage.keys(f"originals/{prefix}".rstrip("/")):
            yield PurePath(name).name


def key(id: str) -> str:
    """Of the copy in storage."""
    return f"originals/{id[:2]}/{id}"
