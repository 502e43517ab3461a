"""Ends every service when the supervisor is gone, however it went.

Started by `deploy.local.supervisor` as `python -I -S reaper.py`, with its standard input at the other end of a pipe
that only the supervisor (and, for milliseconds, a service that is just starting) holds open. Lines on it: `+N` a
process group to look after, `-N` one that has ended. The end of the input means that the supervisor ended, `kill -9`
included.
The reaper inherits the home's lock, so the home counts as taken until the services are really gone.

Standard library only, and nothing of Lookalike: it must outlive whatever breaks the others.
"""

import contextlib
import os
import signal
import sys
import time

GRACE_S = 4.0


def main() -> None:
    """Keeps the list until the input ends, then ends what is left of it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        if line.startswith("+"):
            groups.add(int(line[1:]))
        elif line.startswith("-"):
            groups.discard(int(line[1:]))
    end(groups, GRACE_S)


def end(groups: set[int], grace_s: float) -> None:
    """SIGTERM to every group, then SIGKILL to those that are still there after `grace_s` seconds."""
    for group in groups:
        _signal(group, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while any(map(is_alive, groups)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for group in groups:
        _signal(group, signal.SIGKILL)
    # A killed group may take a moment to go; the lock must not be given back before.
    deadline = time.monotonic() + grace_s
    while any(map(is_alive, groups)) and time.monotonic() < deadline:
        time.sleep(0.05)


def is_alive(group: int) -> bool:
    """Whether a process of the group still runs; one that ended but was never collected does not count."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):  # macOS answers "permission" for a group of ended processes
        return False
    if not sys.platform.startswith("linux"):
        return True
    # In a container the first process may collect nobody, and a signal to the dead is then no error.
    return any(_is_running_in(group, entry.name) for entry in os.scandir("/proc") if entry.name.isdigit())


def _is_running_in(group: int, process: str) -> bool:
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as stat:  # noqa: PTH123 - no imports
            state, _parent, its_group = stat.read().rpartition(")")[2].split()[:3]
    except (OSError, ValueError):
        return False
    return int(its_group) == group and state not in "ZX"


def _signal(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


if __name__ == "__main__":
    main()
