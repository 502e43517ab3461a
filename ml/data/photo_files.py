"""Which files of a folder a person would call their photos: one rule for indexing and for training data.

Left out are hidden files, what systems and programs keep beside photos (recycle bins, previews, AppleDouble files), and
what a `.lookalikeignore` says, a file with gitignore's patterns that holds for its folder and those below.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pathspec import GitIgnoreSpec

from ml import files
from ml.errors import LookalikeError

IGNORE_FILE = ".lookalikeignore"

# Names of folders that hold no photos of their own, in lower case.
_FOLDERS = {
    "@eadir": "thumbnails of a Synology",
    "#recycle": "the recycle bin of a Synology",
    "@recycle": "the recycle bin of a QNAP",
    "@recently-snapshot": "snapshots of a QNAP",
    "$recycle.bin": "the recycle bin of Windows",
    "system volume information": "Windows' own",
    "lost+found": "fragments of a damaged disk",
    "__macosx": "side files of an archive",
}
_PREVIEWS = re.compile(r"\.lrdata$", re.IGNORECASE)
_LIBRARY = re.compile(r"\.(photoslibrary|photolibrary|migratedphotolibrary|aplibrary)$", re.IGNORECASE)
_LIBRARY_ORIGINALS = {"originals", "masters"}

Skip = Callable[[Path, str], None]  # (file or folder, why)


class BadIgnoreFile(LookalikeError):
    """A `.lookalikeignore` that cannot be read: what it rules out must not be taken for photos."""


@dataclass(frozen=True)
class PhotoFile:
    """A file to try, or a folder that cannot be read: then `error` says why."""

    path: Path
    error: str = ""


def photo_files(root: Path, skip: Skip, seen: set[tuple[int, int]] | None = None) -> Iterator[PhotoFile]:
    """Every file below a folder, in order of names, each real folder once, links followed.

    Args:
        root: the folder.
        skip: told what is left out, and why; a folder once, whatever it holds.
        seen: real folders that other roots led to.

    Raises:
        BadIgnoreFile: see there.
    """
    yield from _below(root, skip, set() if seen is None else seen, ())


def _below(
    folder: Path, skip: Skip, seen: set[tuple[int, int]], rules: tuple[tuple[Path, GitIgnoreSpec], ...]
) -> Iterator[PhotoFile]:
    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:
            return  # a link that leads back, or a folder given twice
        seen.add((status.st_dev, status.st_ino))
        entries = sorted(folder.iterdir())
    except OSError as error:
        yield PhotoFile(folder, f"the folder cannot be read: {error.strerror}")
        return
    if (folder / IGNORE_FILE) in entries:
        rules = ((folder, _rules(folder / IGNORE_FILE)), *rules)
    for entry in entries:
        is_folder = entry.is_dir()
        if reason := _reason(entry, is_folder, rules):
            skip(entry, reason)
        elif is_folder:
            yield from _below(entry, skip, seen, rules)
        else:
            yield PhotoFile(entry)


def _reason(entry: Path, is_folder: bool, rules: tuple[tuple[Path, GitIgnoreSpec], ...]) -> str:
    """Why a file or folder is left out; empty when it is not."""
    name = entry.name.lower()
    if name.startswith("."):
        return "side file of macOS" if name.startswith("._") else "trash" if name.startswith(".trash") else "hidden"
    if is_folder:
        if name in _FOLDERS:
            return _FOLDERS[name]
        if _PREVIEWS.search(name):
            return "previews of Lightroom"
        if _LIBRARY.search(entry.parent.name) and name not in _LIBRARY_ORIGINALS:
            return "derivatives of a photo library"
    elif _LIBRARY.search(entry.parent.name):
        return "derivatives of a photo library"
    for folder, spec in rules:  # the nearest file decides
        relative = entry.relative_to(folder).as_posix() + ("/" if is_folder else "")
        if (include := spec.check_file(relative).include) is not None:
            return IGNORE_FILE if include else ""
    return ""


def _rules(file: Path) -> GitIgnoreSpec:
    try:
        return GitIgnoreSpec.from_lines(files.read_regular(file).decode("utf-8", "surrogateescape").splitlines())
    except OSError as error:
        raise BadIgnoreFile(f"{file} cannot be read: {error.strerror}", hint="correct who may read it") from error
    except ValueError as error:
        raise BadIgnoreFile(f"{file} is not valid: {error}", hint="its lines are gitignore's patterns") from error


def shown(path: Path) -> str:
    """A path as text that can be stored and shown, whatever bytes the file system holds."""
    return os.fsencode(path).decode("utf-8", "replace")
