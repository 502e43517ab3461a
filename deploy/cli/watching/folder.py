"""Compares a watched folder with what was seen of it last.

A file is taken when it is whole: its program has closed it, or it has not changed for a while. A folder of which
nothing is left is taken for a drive that is away, and nothing of it counts as gone.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from deploy.cli.find_files import Candidate, Walk
from deploy.cli.watching.seen import SeenFiles

QUIET_S = 2.0  # a file that has not changed for so long is whole
_WRITING_S = 15.0  # one that is being written, and that nobody has closed since
_OLD_S = 60.0  # one that has been as it is for so long is whole whatever is said of it, an empty one too
_GONE_S = 60.0  # a file that has been missing for so long is gone, whatever else is being written


@dataclass(frozen=True)
class Found:
    """A file that is new or has changed, and is whole."""

    candidate: Candidate
    size: int
    mtime_ns: int

    @property
    def path(self) -> str:
        return str(self.candidate.path)


@dataclass
class Difference:
    """What differs from what was seen last.

    `missing` files are not there now, `gone` are those of them that have been missing for a while. `unsettled` files
    may still be written, or come back: compare again soon.
    """

    found: list[Found] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    unsettled: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    is_away: bool = False

    @property
    def is_empty(self) -> bool:
        return not self.found and not self.gone


class Writing:
    """What the operating system says of files: which are being written, and which were closed or moved here whole."""

    def __init__(self) -> None:
        self._open: set[str] = set()
        self._whole: set[str] = set()

    def written(self, path: str) -> None:
        self._open.add(path)
        self._whole.discard(path)

    def whole(self, path: str) -> None:
        self._open.discard(path)
        self._whole.add(path)

    def quiet_s(self, path: str) -> float:
        """For how long a file must not have changed to count as whole."""
        return 0.0 if path in self._whole else _WRITING_S if path in self._open else QUIET_S

    def forget(self, path: str) -> None:
        self._open.discard(path)
        self._whole.discard(path)


class WatchedFolder:
    """One folder, and when its files were last seen to change.

    Args:
        root: the folder, in full.
        seen: its files as the gallery knows them.
        writing: see there.
        clock: seconds that never go back.
    """

    def __init__(
        self, root: Path, seen: SeenFiles, writing: Writing, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.root = root
        self.seen = seen
        self.writing = writing
        self._clock = clock
        self._differing: dict[str, tuple[tuple[int, int], float]] = {}  # path -> how it was, since when
        self._missing: dict[str, float] = {}  # path -> since when

    def compare(self) -> Difference:
        """Looks at every file. Raises BadIgnoreFile."""
        difference, now = Difference(), self._clock()
        here: set[str] = set()
        unreadable: list[str] = []
        differing: dict[str, tuple[tuple[int, int], float]] = {}
        walk = Walk([self.root], lambda path, reason: difference.skipped.append((str(path), reason)))
        for candidate in walk if self.root.is_dir() else ():
            path = str(candidate.path)
            if candidate.reason:
                unreadable.append(path)
            try:
                status = candidate.path.lstat() if candidate.reason else candidate.path.stat()
            except OSError:  # gone meanwhile
                continue
            here.add(path)
            known = self.seen.get(path)
            if known and known.is_as(status):
                self.writing.forget(path)
                continue
            how = (status.st_size, status.st_mtime_ns)
            before = self._differing.get(path)
            since = before[1] if before and before[0] == how else now
            differing[path] = how, since
            is_old = time.time() - status.st_ctime > _OLD_S or now - since >= _OLD_S
            is_whole = status.st_size > 0 and now - since >= self.writing.quiet_s(path)
            if candidate.reason or is_old or is_whole:
                difference.found.append(Found(candidate, *how))
            else:
                difference.unsettled += 1
        self._differing = differing
        difference.is_away = not here and (len(self.seen) > 0 or not self.root.is_dir())
        if difference.is_away:
            self._missing.clear()
            return difference
        below = tuple(path + os.sep for path in unreadable)
        missing = {path: self._missing.get(path, now) for path in self.seen if path not in here}
        self._missing = {path: since for path, since in missing.items() if not path.startswith(below)}
        patience_s = _GONE_S if difference.unsettled else QUIET_S
        difference.missing = list(self._missing)
        difference.gone = [path for path, since in self._missing.items() if now - since >= patience_s]
        difference.unsettled += len(self._missing) - len(difference.gone)
        return difference
