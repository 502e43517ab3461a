"""Files and folders that appear whole or not at all: written as a draft, synced to disk, renamed into place.

And files that are read only if they are files: a pipe or a device of that name would have its reader wait for ever.
Work that a file stands for goes on once at a time: `held`.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import shutil
import stat
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from io import BufferedReader
from pathlib import Path

_DRAFT = re.compile(r"\.(draft-)?[0-9a-f]{32}")  # without the word in homes of 0.1.0


@contextlib.contextmanager
def draft(target: Path, *, keep_existing: bool = False) -> Iterator[Path]:
    """A path beside `target`: the file or folder that the block makes there becomes `target`, in one step.

    A reader finds what was there before, or all of the new; a power cut changes nothing about that. If the block
    raises, `target` is as it was. Missing parents are made. The draft's name is hidden; one that a killed process left
    is in nobody's way.

    Args:
        target: to write or replace; a folder replaces a folder, a file replaces a file.
        keep_existing: of a folder: when another process was faster, its result stays.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.parent / f".draft-{uuid.uuid4().hex}"
    try:
        yield path
        _sync_tree(path)
        if not path.is_dir():
            path.replace(target)
        elif keep_existing:
            _rename_if_first(path, target)
        else:
            _replace_folder(path, target)
        sync(target.parent)
    finally:
        _remove(path)


def write(target: Path, content: bytes | str, *, mode: int = 0o666) -> None:
    """Writes or replaces one file, as `draft` does; text as UTF-8. The umask applies to `mode`."""
    write_many({target: content.encode() if isinstance(content, str) else content}, mode=mode)


def write_many(contents: Mapping[Path, bytes], *, mode: int = 0o666) -> None:
    """Writes or replaces files, each in one step; all of them are on the disk when this returns.

    Cheaper than one after the other: the first sync takes most of what the others would wait for along.

    Raises:
        OSError: the disk is full or cannot be written. Each file is then what it was or what it was to be.
    """
    drafts: dict[str, str] = {}
    opened: list[int] = []
    try:
        for target, content in contents.items():
            folder, name = os.path.split(target)
            draft = f"{folder or '.'}/.draft-{uuid.uuid4().hex}"
            drafts[draft] = f"{folder or '.'}/{name}"
            try:
                opened.append(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
            except FileNotFoundError:
                target.parent.mkdir(parents=True, exist_ok=True)
                opened.append(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
            left = memoryview(content)
            while left:
                left = left[os.write(opened[-1], left) :]
        for descriptor in opened:
            os.fsync(descriptor)
        for draft in list(drafts):
            os.replace(draft, drafts.pop(draft))  # noqa: PTH105 - of many files, a Path for each costs more than this
        for folder in {os.path.split(target)[0] or "." for target in contents}:
            sync(folder)
    finally:
        for descriptor in opened:
            os.close(descriptor)
        for draft in drafts:
            with contextlib.suppress(OSError):
                os.unlink(draft)  # noqa: PTH108


def open_regular(path: Path, *, follow: bool = True) -> BufferedReader:
    """Opens a file for reading, if it is one.

    Args:
        path: of the file.
        follow: a link that leads to a file will do.

    Raises:
        OSError: there is none, it cannot be read, or it is a folder, link, pipe, socket or device.
    """
    descriptor, _ = _opened(path, follow=follow)
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path, *, follow: bool = True) -> bytes:
    """The content of a file, if it is one. Raises OSError, as `open_regular` does."""
    descriptor, size = _opened(path, follow=follow)
    try:
        # A hundred thousand records are read like this, and each call of the system lets another thread have the
        # interpreter: a file object makes twice as many.
        parts = [os.read(descriptor, size + 1)]
        if len(parts[0]) != size:  # it is written to
            parts += iter(lambda: os.read(descriptor, 2**20), b"")
        return parts[0] if len(parts) == 1 else b"".join(parts)
    finally:
        os.close(descriptor)


def sweep_drafts(folder: Path, older_than_s: float) -> int:
    """Removes drafts below a folder that nobody has touched for so long: their writers died. Returns how many."""
    swept = 0
    for parent, folders, names in os.walk(folder):
        for name in [name for name in (*folders, *names) if _DRAFT.fullmatch(name)]:
            path = Path(parent) / name
            with contextlib.suppress(FileNotFoundError):  # renamed meanwhile
                if time.time() - path.lstat().st_mtime > older_than_s:
                    _remove(path)
                    swept += 1
        folders[:] = [name for name in folders if not _DRAFT.fullmatch(name)]
    return swept


def sync(path: Path | str) -> None:
    """Waits until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def held(lock_file: Path, refusal: Exception) -> Iterator[None]:
    """Work that goes on once at a time. When this process dies, however it does, others may do it.

    Args:
        lock_file: made when missing, and left.
        refusal: raised where somebody else, of this process or another, is at it.
    """
    with contextlib.ExitStack() as until_the_end:
        # A folder that cannot be written, which is told once something is written; a file system without locks.
        with contextlib.suppress(OSError):
            lock_file.parent.mkdir(parents=True, exist_ok=True)
            file = until_the_end.enter_context(lock_file.open("ab"))  # closing lets go
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise refusal from None
        yield


def _opened(path: Path, *, follow: bool) -> tuple[int, int]:
    """The descriptor of a file, and how many bytes it has."""
    try:
        _check_regular(path.stat(follow_symlinks=follow), path)
        # Should a pipe have taken its place meanwhile, opening does not wait for who writes into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW))
    except ValueError as error:  # NUL in a name, half of a surrogate pair
        raise OSError(errno.EINVAL, "its name is not one that a file can have", str(path)) from error
    try:
        status = os.fstat(descriptor)
        _check_regular(status, path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, status.st_size


def _check_regular(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))


def _sync_tree(path: Path) -> None:
    sync(path)
    if path.is_dir():
        for inner in path.rglob("*"):
            sync(inner)


def _rename_if_first(path: Path, target: Path) -> None:
    try:
        path.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def _replace_folder(path: Path, target: Path) -> None:
    try:
        path.rename(target)  # where nothing is, or an empty folder
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        if _exchange(path, target):
            return  # the old folder is the draft now, and goes with it
        # This file system cannot exchange: for a moment there is no folder, and a failure puts the old one back.
        old = path.with_name(f"{path.name}-old")
        target.rename(old)
        try:
            path.rename(target)
        except OSError:
            old.rename(target)
            raise
        _remove(old)


def _exchange(one: Path, other: Path) -> bool:
    """Swaps two names in one step; False where the system or the file system has no such call.

    Python offers none: it is renameat2 with RENAME_EXCHANGE on Linux, renamex_np with RENAME_SWAP on macOS.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    here, there, exchange = os.fsencode(one.absolute()), os.fsencode(other.absolute()), 2
    if sys.platform == "darwin" and hasattr(libc, "renamex_np"):
        status = libc.renamex_np(here, there, ctypes.c_uint(exchange))
    elif hasattr(libc, "renameat2"):
        status = libc.renameat2(-100, here, -100, there, ctypes.c_uint(exchange))  # -100: AT_FDCWD
    else:
        return False
    return bool(status == 0)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
