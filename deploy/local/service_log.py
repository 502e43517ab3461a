"""The log of a service: a mark for every start, its last words, and no more of it than fits.

On a full disk, or in a folder that is gone, services run without one.
"""

import contextlib
import os
import re
import time
from pathlib import Path
from typing import IO

LARGEST_BYTES = 10_000_000
_START_MARK = "==== started"


class ServiceLog:
    """The log at a path, which need not be there yet."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def opened(self) -> IO[bytes]:
        """The log at its end, behind a mark of this start; the null device where it cannot be opened."""
        try:
            output: IO[bytes] = open(self.path, "ab", buffering=0, opener=_private)  # noqa: SIM115 - the caller closes it
        except OSError:
            return open(os.devnull, "ab", buffering=0)  # noqa: PTH123
        with contextlib.suppress(OSError):
            output.write(f"{_START_MARK} {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
        return output

    def last_line(self) -> str:
        """The last line of this start, ready to be appended to a message; empty where there is none."""
        return self.last_words()[0]

    def last_words(self) -> tuple[str, str]:
        """The same, and the hint that the service gave with it."""
        with contextlib.suppress(OSError), self.path.open("rb") as log_file:
            log_file.seek(max(0, log_file.seek(0, os.SEEK_END) - 4096))
            tail = log_file.read(4096).decode("utf-8", "replace").rpartition(_START_MARK)[2]
            lines = [line.strip() for line in tail.split("\n")[1:] if line.strip()]
            hint = lines.pop().removeprefix("hint:").strip() if lines and lines[-1].startswith("hint:") else ""
            if lines:
                return ": " + re.sub("^(error|lookalike [a-z]+): ", "", lines[-1]), hint
        return "", ""

    def rotate(self, limit: int = LARGEST_BYTES) -> None:
        """Moves the text of an overgrown log to `<name>.1`, in place: the service that appends to it keeps it open.

        A disk that has no room for the copy leaves the log as it is; the next call tries again.
        """
        with contextlib.suppress(OSError):
            if self.path.stat().st_size > limit:
                with open(self.path.with_name(self.path.name + ".1"), "wb", opener=_private) as copy:
                    copy.write(self.path.read_bytes())
                os.truncate(self.path, 0)


def _private(path: str, flags: int) -> int:
    """An opener: a file of its owner alone."""
    return os.open(path, flags, 0o600)
