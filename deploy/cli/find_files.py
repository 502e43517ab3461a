"""Which files of the given paths are worth trying as images, and what label each gets.

An image is known by its content, not its name. A name only rules a file out where it plainly says something else
(`notes.txt`, `film.mp4`), and never a file that was named itself. Which folders are gone into: ml.data.photo_files.
"""

import contextlib
import mimetypes
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ml.data.photo_files import Skip, photo_files, shown

# Side files of cameras, phones and file managers, whose endings the table of media types does not know.
_SIDE_FILES = {".aae", ".db", ".ini", ".lnk", ".lrv", ".thm", ".url", ".xmp"}
_TYPES = mimetypes.MimeTypes()  # without the tables of the machine: the same files everywhere


@dataclass(frozen=True)
class Candidate:
    """A file to try. `reason` is set where it is known already that it cannot be read; `label` is its folder's name,
    or with `by_person` one that somebody chose."""

    path: Path
    label: str | None
    reason: str = ""
    by_person: bool = False

    @property
    def display_path(self) -> str:
        """The path as text that can be stored and shown, whatever bytes the file system holds."""
        return shown(self.path)


@dataclass
class Walk:
    """Goes through files and folders, the first in order of paths first.

    Attributes:
        roots: where to go; a file that is named itself is always tried.
        on_skip: told each file and folder that is left out, and why.
        skipped: how many were left out.
    """

    roots: Sequence[Path]
    on_skip: Skip = field(default=lambda path, reason: None)
    skipped: int = 0

    def __iter__(self) -> Iterator[Candidate]:
        """Every file to try, folders in order of their names, each real folder once."""
        seen: set[tuple[int, int]] = set()
        # `resolve` would lose the names that links carry.
        for path in sorted(Path(os.path.abspath(root)) for root in self.roots):  # noqa: PTH100
            if not path.is_dir():
                yield _candidate(path)
                continue
            for found in photo_files(path, self._skip, seen):
                if found.error:
                    yield Candidate(found.path, None, found.error)
                elif _is_plainly_no_image(found.path):
                    self._skip(found.path, "no photo by its name")
                elif found.path.exists() and not found.path.is_file():
                    self._skip(found.path, "no regular file")
                else:
                    yield _candidate(found.path)

    def bytes(self) -> int:
        """The size of all files to try together."""
        total = 0
        for found in Walk(self.roots):
            with contextlib.suppress(OSError):  # gone meanwhile
                total += 0 if found.reason else found.path.stat().st_size
        return total

    def _skip(self, path: Path, reason: str) -> None:
        self.skipped += 1
        self.on_skip(path, reason)


def _candidate(path: Path) -> Candidate:
    label = _decoded(path.parent.name) or None
    try:
        mode = path.stat().st_mode
    except OSError as error:
        reason = "the link leads nowhere" if path.is_symlink() else f"cannot be read: {error.strerror}"
        return Candidate(path, label, reason)
    return Candidate(path, label, "" if stat.S_ISREG(mode) else "is no regular file")


def _is_plainly_no_image(path: Path) -> bool:
    kind, encoding = _TYPES.guess_type(path.name)
    if path.suffix.lower() in _SIDE_FILES or encoding:
        return True
    return kind is not None and not kind.startswith("image/")


def _decoded(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "replace")
