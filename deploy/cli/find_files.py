"""Which files of the given paths are worth trying as images, and what label each gets.

An image is known by its content, not its name. A name only rules a file out where it plainly says something else
(`notes.txt`, `film.mp4`), and never a file that was named itself. Hidden files and folders stay out.
"""

import mimetypes
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

# Side files of cameras, phones and file managers, whose endings the table of media types does not know.
_SIDE_FILES = {".aae", ".db", ".ini", ".lnk", ".lrv", ".thm", ".url", ".xmp"}
_TYPES = mimetypes.MimeTypes()  # without the tables of the machine: the same files everywhere


@dataclass(frozen=True)
class Candidate:
    """A file to try. `reason` is set where it is known already that it cannot be read; `label` is its folder's name."""

    path: Path
    label: str | None
    reason: str = ""

    @property
    def display_path(self) -> str:
        """The path as text that can be stored and shown, whatever bytes the file system holds."""
        return os.fsencode(self.path).decode("utf-8", "replace")


@dataclass
class Walk:
    """Goes through files and folders; `skipped` counts the files that their names ruled out."""

    roots: Sequence[Path]
    skipped: int = 0

    def __iter__(self) -> Iterator[Candidate]:
        """Every file to try, folders in order of their names, each real folder once."""
        seen: set[tuple[int, int]] = set()
        for root in self.roots:
            path = Path(os.path.abspath(root))  # noqa: PTH100 - `resolve` would lose the names that links carry
            if path.is_dir():
                yield from self._folder(path, seen)
            else:
                yield _candidate(path)

    def _folder(self, folder: Path, seen: set[tuple[int, int]]) -> Iterator[Candidate]:
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:
                return  # a link that leads back, or a folder given twice
            seen.add((status.st_dev, status.st_ino))
            entries = sorted(folder.iterdir())
        except OSError as error:
            yield Candidate(folder, None, f"the folder cannot be read: {error.strerror}")
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from self._folder(entry, seen)
            elif _is_plainly_no_image(entry) or (entry.exists() and not entry.is_file()):
                self.skipped += 1
            else:
                yield _candidate(entry)


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
