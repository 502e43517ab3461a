"""Ray on a busy machine: its processes are given time to start, and a start that fails for lack of it is tried again.

They wait for one another, each with a limit of its own, and where one gives up, all end. Most limits are switches, and
set to minutes here. One is not: Ray's node ends when an agent, which imports for seconds, has not said its port after
15 s. On two cores at a load of 15 every second start ends so, and the next one may not.
"""

import contextlib
import logging
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

from ml import cores

log = logging.getLogger(__name__)
_ERROR = re.compile(r" [EF] \d+ |\bERROR\b|Error:")  # as Ray's processes in C++ write it, and those in Python

LIMIT_S = 120
TRIES = 4
_NODE_S = 45  # a node that is not there by then has ended
_SAY_AFTER_S = 20.0
_LIMITS = {
    "RAY_gcs_server_port_wait_time_s": LIMIT_S,  # Ray's own process for its server's port
    "RAY_raylet_start_wait_time_s": _NODE_S,  # … and for the node to be known there
    "RAY_agent_register_timeout_ms": 1000 * LIMIT_S,  # the node for its agents
    "RAY_worker_register_timeout_seconds": LIMIT_S,  # … and for processes that work
}


def limits() -> dict[str, str]:
    """Ray's switches, by name in the environment. What the environment says already stays."""
    return {name: os.environ.get(name, str(value)) for name, value in _LIMITS.items()}


@contextlib.contextmanager
def said(after_s: float = _SAY_AFTER_S) -> Iterator[None]:
    """Says that the block takes long, once, while it does."""
    timer = threading.Timer(after_s, _say, [after_s])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _say(after_s: float) -> None:
    log.warning(
        "Ray has not started after %.0f s: %s; it is tried up to %d times",
        after_s,
        busy() or "memory may be short",
        TRIES,
    )


def busy() -> str:
    """How busy the machine is, where it is: "the machine is busy (load 31.2 on 2 cores)"."""
    load, count = os.getloadavg()[0], cores.available()
    return f"the machine is busy (load {load:.1f} on {count} core{'s' * (count != 1)})" if load > 2 * count else ""


def is_out_of_time(error: Exception) -> bool:
    """Whether Ray gave up waiting, as opposed to what would fail again."""
    return isinstance(error, TimeoutError) or "timed out" in str(error)


def end_processes_of(folder: str) -> None:
    """Ends what Ray started for a folder: of a start that failed it forgets its processes."""
    import psutil  # Ray brings it

    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any(folder in argument for argument in child.cmdline()):
                child.kill()


def last_words(folder: Path) -> str:
    """What Ray's own processes complained of last, one line for each log that has errors; empty where none has.

    Args:
        folder: that Ray was given for its logs.
    """
    lines = []
    for log_file in sorted(folder.glob("session_2*/logs/*")):
        if log_file.suffix in (".out", ".log", ".err") and log_file.is_file():
            errors = [line for line in log_file.read_text("utf-8", "replace").splitlines() if _ERROR.search(line)]
            lines += [f"{log_file.name}: {errors[-1].strip()}"] if errors else []
    return "\n".join(lines)
