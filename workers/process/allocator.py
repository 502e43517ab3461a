"""How a worker's memory is allocated: from an arena of glibc's for each core, whatever the number of threads.

glibc gives threads arenas of their own, eight for each core, and what is free in one serves no thread of another. Tasks
go to 32 threads in turn, so that each arena grows to the size of the largest work that ever came to it: see "Memory of
a worker" in benchmarks/LOG.md.
"""

import contextlib
import ctypes
import os

from ml import cores

_M_ARENA_MAX = -8  # <malloc.h>


def arenas() -> int:
    """As many as threads can run at the same time, so that they seldom wait for one another; two at least."""
    return max(2, cores.available())


def limit_arenas() -> None:
    """Holds for threads that begin afterwards. What the environment says counts; other allocators have no arenas."""
    if "MALLOC_ARENA_MAX" in os.environ or "arena_max" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    with contextlib.suppress(AttributeError, OSError, TypeError):  # no glibc
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, arenas())
