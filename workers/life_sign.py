"""The sign of life of a worker or trainer, for an orchestrator's probe: a file that the process touches now and then.

`python -m workers.life_sign` is that probe: exit status 0 while the process of this home lives; 1 and a line on stderr
when not. It depends on nothing outside of the process: were every worker killed while Qdrant loads or Redis restarts,
they would all have to start again for nothing. What is away is told by the status. What a restart mends is written into
the file: a worker that is alive and consumes nothing, though its queue answers (celery issue 10205).
"""

import contextlib
import os
import sys
import threading
import time
from pathlib import Path

_TOUCHED_S = 5.0
LONGEST_SILENCE_S = 60.0


class LifeSign:
    """A thread that touches `<home>/run/<pid>.alive` until it is closed.

    `stuck` says why this process should be started again, empty while it should not.
    """

    def __init__(self, home: Path) -> None:
        self.stuck = ""
        self._file = _folder(home) / f"{os.getpid()}.alive"
        self._file.parent.mkdir(parents=True, exist_ok=True)
        for given_at, left in _signs(home):  # by those that were killed
            if time.time() - given_at > LONGEST_SILENCE_S:
                left.unlink(missing_ok=True)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="life-sign", daemon=True)
        self._file.write_text("")
        self._thread.start()

    def close(self) -> None:
        """Takes the sign away."""
        self._closed.set()
        self._thread.join()
        self._file.unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._closed.wait(_TOUCHED_S):
            with contextlib.suppress(OSError):  # a full disk is no reason to be killed: see LONGEST_SILENCE_S
                self._file.write_text(self.stuck)


def problem(home: Path) -> str:
    """What is wrong with the process of this home that gave the latest sign; empty when nothing is."""
    signs = _signs(home)
    if not signs:
        return f"nothing has given a sign of life in {_folder(home)}"
    given_at, file = signs[-1]
    silent_s = time.time() - given_at
    if silent_s > LONGEST_SILENCE_S:
        return f"it has given no sign of life for {silent_s:.0f} s"
    try:
        return file.read_text()
    except FileNotFoundError:  # taken away as it was found: its process has just ended
        return problem(home)


def _signs(home: Path) -> list[tuple[float, Path]]:
    """When each sign was given, and its file; the latest last."""
    found = []
    for file in _folder(home).glob("*.alive"):
        with contextlib.suppress(FileNotFoundError):  # taken away meanwhile by another process
            found.append((file.stat().st_mtime, file))
    return sorted(found)


def _folder(home: Path) -> Path:
    return home / "run"


if __name__ == "__main__":
    if text := problem(Path(os.environ.get("LOOKALIKE_HOME") or "~/.lookalike").expanduser()):
        sys.stderr.write(text + "\n")
        sys.exit(1)
