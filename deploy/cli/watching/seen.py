"""What was seen of a watched folder's files when the gallery was last in line with them.

One SQLite file for each folder, <home>/watched/<digest of its path>.sqlite, which one process at a time holds. Losing
it costs a second reading of every file, which changes nothing.
"""

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ml.errors import LookalikeError
from workers.client import Busy


@dataclass(frozen=True)
class Seen:
    """A file as it was indexed: its size and time, the image it holds, or why it holds none (`reason`)."""

    size: int
    mtime_ns: int
    id: str | None
    reason: str = ""

    def is_as(self, status: os.stat_result) -> bool:
        """Whether the file looks the same now."""
        return (self.size, self.mtime_ns) == (status.st_size, status.st_mtime_ns)


class SeenFiles:
    """The files of one folder, by path. In memory, and in a database that is written in whole changes.

    Raises:
        Busy: another process watches the folder.
        LookalikeError: the home cannot be written.
    """

    def __init__(self, home: Path, folder: Path) -> None:
        file = home / "watched" / f"{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}.sqlite"
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._database = sqlite3.connect(file, timeout=0, isolation_level=None)
            self._database.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._database.execute("BEGIN EXCLUSIVE")  # the lock stays until it is closed
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS files (path BLOB PRIMARY KEY, size INT, mtime_ns INT, id TEXT, reason TEXT)"
            )
            self._database.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise Busy(f"{folder} is watched already", hint="one watcher for each folder and home") from error
            raise LookalikeError(f"cannot write {file}: {error}", hint="free space, or correct the rights") from error
        except OSError as error:
            raise LookalikeError(f"cannot write {file}: {error.strerror}", hint="correct the rights") from error
        rows = self._database.execute("SELECT path, size, mtime_ns, id, reason FROM files")
        self._files = {os.fsdecode(path): Seen(*facts) for path, *facts in rows}

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def get(self, path: str) -> Seen | None:
        return self._files.get(path)

    def items(self) -> Iterable[tuple[str, Seen]]:
        return self._files.items()

    def ids(self) -> set[str]:
        """Of every image that the files hold."""
        return {seen.id for seen in self._files.values() if seen.id}

    def change(self, seen: Mapping[str, Seen], gone: Iterable[str]) -> None:
        """Notes what was seen now, and forgets files that are gone, both or neither."""
        gone = list(gone)
        with self._database:
            self._database.execute("BEGIN")
            self._database.executemany("DELETE FROM files WHERE path = ?", [(os.fsencode(path),) for path in gone])
            self._database.executemany(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)",
                [(os.fsencode(path), s.size, s.mtime_ns, s.id, s.reason) for path, s in seen.items()],
            )
        for path in gone:
            self._files.pop(path, None)
        self._files.update(seen)

    def close(self) -> None:
        self._database.close()
