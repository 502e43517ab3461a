"""Builds the HNSW graph of a shard that nobody else has open: `python -m workers.store.optimize FOLDER DIM CODES`.

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

# Parts with a graph each. The engine's own choice grows with the cores, and with it what a single search costs.
_SEGMENTS = 2
_LEAST_KB = 1000  # of vectors in a part that gets one


def optimise(folder: Path, dim: int, codes: str, until: threading.Event) -> bool:
    """Optimises the shard in a folder. False when `until` was set before it was done.

    Args:
        folder: the shard's.
        dim: length of its vectors.
        codes: to be searched by: none, int8 or binary. "none" leaves those that there are.
        until: ends it.

    Raises:
        subprocess.CalledProcessError: it failed; the folder is of no use any more.
    """
    command = [sys.executable, "-m", "workers.store.optimize", str(folder), str(dim), codes]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as child:
        while child.poll() is None:
            if until.wait(0.2):
                child.kill()
                return False
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    return True


def main(folder: str, dim: str, codes: str) -> None:
    with contextlib.suppress(OSError):
        os.nice(19)
    made: edge.ScalarQuantizationConfig | edge.BinaryQuantizationConfig | None = None
    if codes == "int8":
        made = edge.ScalarQuantizationConfig(edge.ScalarType.Int8, quantile=0.99, always_ram=True)
    elif codes == "binary":
        made = edge.BinaryQuantizationConfig(always_ram=True)
    vectors = edge.EdgeVectorParams(size=int(dim), distance=edge.Distance.Cosine)
    parts = edge.EdgeOptimizersConfig(default_segment_number=_SEGMENTS, indexing_threshold=_LEAST_KB)
    # Without codes those that the shard has are kept.
    config = edge.EdgeConfig(vectors=vectors, quantization_config=made, optimizers=parts)
    shard = edge.EdgeShard.load(folder, config)
    shard.optimize()
    shard.flush()
    shard.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
