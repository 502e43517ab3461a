"""A child of the nursery: takes work from its socket and answers, until somebody ends it.

The kernel ends it when a piece of work takes more processor time than it may (a profiling timer whose signal nobody
catches), and refuses it memory beyond its share (a limit on data, which Linux counts and macOS does not).
"""

import contextlib
import ctypes
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ml.decoders.wire import Part, Wire
from ml.decoders.work import Work, carry_out
from ml.images import UnreadableImage

_RETIRES_BYTES = 256 * 2**20  # after work that may have needed so much: a heap does not shrink by itself


def serve(wire: Wire) -> None:
    """Works until the other side closes the socket."""
    _end_with_the_nursery()
    base, work = _data_bytes(), None
    while (message := wire.receive()) is not None:
        head, (data,) = message
        if work is None or "work" in head:  # said once for many images
            work = Work.from_json(head["work"])
        with _bounded(head["seconds"], base + head["memory"]):
            answer, parts = _answer(bytes(data), work)
        del data, message
        answer["is_last"] = head["memory"] > _RETIRES_BYTES
        wire.send(answer, parts)
        if answer["is_last"]:
            return


def _answer(data: bytes, work: Work) -> tuple[dict[str, Any], list[Part]]:
    try:
        prepared = carry_out(data, work)
    except UnreadableImage as error:
        return {"message": error.message, "hint": error.hint}, []
    return {"shape": prepared.pixels.shape}, [np.ascontiguousarray(prepared.pixels).data, prepared.thumbnail]


@contextlib.contextmanager
def _bounded(seconds: float, memory: int) -> Any:
    """Ends this process after so much processor time; gives it no more memory than this."""
    resource.setrlimit(resource.RLIMIT_DATA, (memory, resource.RLIM_INFINITY))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _data_bytes() -> int:
    """What counts as data now, before any work."""
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmData")).split()[1]) * 1024
    return 256 * 2**20


def _end_with_the_nursery() -> None:
    """Asks the kernel to end this process with its parent, where it can: also in the middle of a decoder's work."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() == 1:
            os._exit(1)
