"""Builds the HNSW graph of a shard that nobody else has open: `python -m workers.store.optimize FOLDER`.

A process of its own, because Edge's `optimize()` keeps the interpreter to itself for minutes; at the lowest priority,
because searches matter more.
"""

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import qdrant_edge as edge


def optimise(folder: Path, until: threading.Event) -> bool:
    """Optimises the shard in a folder. False when `until` was set before it was done.

    Raises:
        subprocess.CalledProcessError: it failed; the folder is of no use any more.
    """
    command = [sys.executable, "-m", "workers.store.optimize", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as child:
        while child.poll() is None:
            if until.wait(0.2):
                child.kill()
                return False
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    return True


def main(folder: str) -> None:
    with contextlib.suppress(OSError):
        os.nice(19)
    shard = edge.EdgeShard.load(folder)
    shard.optimize()
    shard.flush()
    shard.close()


if __name__ == "__main__":
    main(sys.argv[1])
