"""Files at a URL that are whole or absent: what images, metadata, checkpoints and models are kept in.

`file://` writes beside, syncs and renames, so that a reader sees the old file or the new one and what was acknowledged
survives a power cut; what is no file there, but a link, a pipe or a device, is not read. Every other URL goes through
fsspec, whose object stores replace an object in one step.
"""

import contextlib
import errno
import fcntl
import os
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from ml import files
from ml.errors import LookalikeError
from ml.names import BadName
from ml.reflink import clone

Hold = Callable[[str], AbstractContextManager[None]]  # locks a key between processes

_PUT_AT_ONCE = 16  # an object store answers in milliseconds, one after another
_LOCKS = 64  # keys share locks; few enough files, and seldom do two writers meet
_PUT_S, _SLOWEST = 60.0, 100_000  # how long an object store may take to keep an object, and the bytes a second beyond


class StorageFailed(LookalikeError):
    """The storage refuses: no such bucket, no permission, disk full. The last one passes, and so does being away."""


class Storage(Protocol):
    """Keys are relative paths with `/`. Values are bytes."""

    url: str

    def put(self, key: str, data: bytes, *, same_as: Path | None = None) -> None:
        """Writes or replaces one file. Durable when it returns.

        `same_as` is a file on this machine that should hold the same: blocks of the disk may be shared with it, copy
        on write. The stored file is one of its own: whatever becomes of the other, it keeps `data`.
        """

    def put_many(self, contents: Mapping[str, bytes]) -> None:
        """Writes or replaces several files. All are durable when it returns; when it raises, some may be."""

    def get(self, key: str) -> bytes:
        """The content. Raises FileNotFoundError."""

    def exists(self, key: str) -> bool: ...

    def size(self, key: str) -> int | None:
        """In bytes; None when there is no such file."""

    def delete(self, key: str) -> None:
        """Removes one file; a file that is not there is no error."""

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key below a folder, in order."""

    def sizes(self, prefix: str) -> Iterator[tuple[str, int]]:
        """The same with the sizes in bytes; -1 for what is no file: a link, a pipe, a device. `keys` passes it over."""

    def local_path(self, key: str) -> Path | None:
        """Where the file lies on this machine; None for storage that is elsewhere."""

    def sweep_drafts(self, older_than_s: float) -> int:
        """Removes what writes that were cut short have left. Returns how many files."""

    def lock(self, key: str) -> AbstractContextManager[None]:
        """While it is held, nobody else who asks for the lock of this key has it.

        That holds between processes for a folder, between threads of one process for storage that is elsewhere.
        Who shares storage that is elsewhere with other processes locks it with something that they share, too:
        `lock_between`.
        """


def lock_between(storage: Storage, hold: Hold | None) -> Hold:
    """What locks a storage's keys between all who share it: its own locks, and where those hold in one process alone,
    `hold` as well."""
    if hold is None or storage.local_path("") is not None:
        return storage.lock

    @contextlib.contextmanager
    def both(key: str) -> Iterator[None]:
        with storage.lock(key), hold(key):
            yield

    return both


def open_storage(url: str) -> Storage:
    """Storage at a URL: `file:///folder`, `s3://bucket/prefix`, or whatever else fsspec has a driver for.

    What is no URL is a folder.
    """
    if url.startswith("file://") or "://" not in url:
        return LocalStorage(Path(url.removeprefix("file://")))
    return ObjectStorage(url)


# A disk that is full or a network file system that is away may be well again in a while; no permission stays.
_PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EAGAIN)


class LocalStorage:
    """A folder on this machine, or one that machines share."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = f"file://{root}"
        self._above = len(str(root / "-")) - 1  # of a path, what lies before its key
        self._locks = [threading.Lock() for _ in range(_LOCKS)]

    def put(self, key: str, data: bytes, *, same_as: Path | None = None) -> None:
        if same_as is None:
            self.put_many({key: data})
            return
        with self._writing(), files.draft(self._path(key)) as draft:
            if clone(same_as, draft):
                if draft.read_bytes() == data:
                    return
                draft.unlink()  # written to since it was read
            draft.write_bytes(data)

    def put_many(self, contents: Mapping[str, bytes]) -> None:
        with self._writing():
            files.write_many({self._path(key): data for key, data in contents.items()})

    def get(self, key: str) -> bytes:
        try:
            return files.read_regular(self._path(key), follow=False)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise FileNotFoundError(key) from error
        except OSError as error:
            raise StorageFailed(
                f"cannot read {self.root / key}: {error.strerror or error}",
                hint="check the disk and the permissions",
                passes=error.errno in _PASSING,
            ) from error

    def exists(self, key: str) -> bool:
        return self._path(key).exists()

    def size(self, key: str) -> int | None:
        try:
            return self._path(key).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def keys(self, prefix: str) -> Iterator[str]:
        for entry in _entries_below(self._path(prefix)):
            if entry.is_file(follow_symlinks=False):
                yield self._key(entry)

    def sizes(self, prefix: str) -> Iterator[tuple[str, int]]:
        for entry in _entries_below(self._path(prefix)):
            is_file = entry.is_file(follow_symlinks=False)
            yield self._key(entry), entry.stat(follow_symlinks=False).st_size if is_file else -1

    def local_path(self, key: str) -> Path | None:
        return self._path(key)

    def sweep_drafts(self, older_than_s: float) -> int:
        return files.sweep_drafts(self.root, older_than_s)

    @contextlib.contextmanager
    def lock(self, key: str) -> Iterator[None]:
        number = _lock_number(key)
        with self._locks[number], contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):  # a folder that cannot be written, a file system without locks
                self.root.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context((self.root / f".lock-{number}").open("ab"))
                fcntl.flock(file, fcntl.LOCK_EX)  # closing lets go
            yield

    def _path(self, key: str) -> Path:
        return self.root / _inside(key)

    def _key(self, entry: os.DirEntry[str]) -> str:
        return entry.path[self._above :].replace(os.sep, "/")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageFailed(
                f"cannot write to {self.root}: {error.strerror or error}",
                hint="free space or correct the permissions",
                passes=error.errno in _PASSING,
            ) from error


class ObjectStorage:
    """A bucket with a prefix, through fsspec."""

    def __init__(self, url: str) -> None:
        import fsspec

        self.url = url.rstrip("/")
        self._locks = [threading.Lock() for _ in range(_LOCKS)]
        try:
            self._files, self._root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise StorageFailed(
                f"cannot open the storage {url}: {error}", hint="install the driver it names"
            ) from error
        # What another process wrote must be seen: no listing is remembered.
        self._files.use_listings_cache = False
        if hasattr(self._files, "dircache"):
            self._files.dircache.use_listings_cache = False

    def put(self, key: str, data: bytes, *, same_as: Path | None = None) -> None:
        with self._failing():
            try:
                self._write(self._path(key), data)
            except FileNotFoundError as error:  # the bucket, not the file
                raise StorageFailed(
                    f"the storage {self.url} is not there: {error}", hint="check its address"
                ) from error

    def put_many(self, contents: Mapping[str, bytes]) -> None:
        with ThreadPoolExecutor(max(1, min(_PUT_AT_ONCE, len(contents)))) as threads:
            list(threads.map(self.put, contents, contents.values()))

    def get(self, key: str) -> bytes:
        with self._failing():
            content: bytes = self._files.cat_file(self._path(key))
            return content

    def exists(self, key: str) -> bool:
        with self._failing():
            is_there: bool = self._files.exists(self._path(key))
            return is_there

    def size(self, key: str) -> int | None:
        with self._failing():
            try:
                return int(self._files.size(self._path(key)))
            except FileNotFoundError:
                return None

    def delete(self, key: str) -> None:
        with self._failing(), contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._path(key))

    def keys(self, prefix: str) -> Iterator[str]:
        for key, _ in self.sizes(prefix):
            yield key

    def sizes(self, prefix: str) -> Iterator[tuple[str, int]]:
        with self._failing():
            found = self._files.find(self._path(prefix), detail=True)
        for path in sorted(found):
            yield path.removeprefix(self._root).lstrip("/"), int(found[path].get("size") or 0)

    def local_path(self, key: str) -> Path | None:
        return None

    def sweep_drafts(self, older_than_s: float) -> int:
        return 0  # an object is whole or absent

    @contextlib.contextmanager
    def lock(self, key: str) -> Iterator[None]:
        with self._locks[_lock_number(key)]:
            yield

    def _path(self, key: str) -> str:
        return f"{self._root.rstrip('/')}/{_inside(key)}"

    def _write(self, path: str, data: bytes) -> None:
        """Gives up after a while. Drivers that wait for *100 Continue* lose their own limit once they were told it."""
        from fsspec import asyn
        from fsspec.exceptions import FSTimeoutError

        if not isinstance(self._files, asyn.AsyncFileSystem):
            self._files.pipe_file(path, data)
            return
        longest_s = _PUT_S + len(data) / _SLOWEST
        try:
            asyn.sync(self._files.loop, self._files._pipe_file, path, data, timeout=longest_s)
        except FSTimeoutError as error:
            raise TimeoutError(f"no answer within {longest_s:.0f} s") from error

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, StorageFailed):
            raise
        except Exception as error:  # each driver has its own family
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> StorageFailed:
        """Refused for good, or away for a while? Drivers turn answers into OSErrors, and name what they lack."""
        is_refused = isinstance(error, PermissionError) or "Credentials" in type(error).__name__
        if is_refused:
            return StorageFailed(f"the storage {self.url} refused: {error}", hint="check the keys")
        return StorageFailed(f"the storage {self.url} does not answer: {error}", hint="check its address", passes=True)


def _lock_number(key: str) -> int:
    """The same in every process."""
    return zlib.crc32(key.encode()) % _LOCKS


def _inside(key: str) -> str:
    """A key that leads nowhere else. The names that it is made of have been checked: this is the last line."""
    if key.startswith("/") or "\0" in key or ".." in key.split("/"):
        raise BadName(f"{key!r} leads out of the storage")
    return key


def _entries_below(folder: Path) -> Iterator[os.DirEntry[str]]:
    """All but folders, in the order of their paths as text, as object stores list them. Hidden files are drafts."""
    try:
        with os.scandir(folder) as listing:
            entries = [(entry.is_dir(follow_symlinks=False), entry) for entry in listing]
    except (FileNotFoundError, NotADirectoryError):
        return
    for is_folder, entry in sorted(entries, key=lambda each: each[1].name + "/" * each[0]):
        if is_folder:
            yield from _entries_below(Path(entry.path))
        elif not entry.name.startswith("."):
            yield entry
