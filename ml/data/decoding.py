"""Decoded images, once: uint8 arrays that a run, or all trials of a sweep, read their batches from.

Decoding a photo costs more than a training step on it, so every image is decoded and scaled once and kept: in memory
where that takes at most half of what is free, else in a file that the operating system caches. It happens in processes
that can be ended, under the limits that indexing has: one hostile photo costs a training itself and nothing else.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ml import cores, files
from ml.data.datasets import BadDataset, Dataset, LeftOut, Progress
from ml.decoders import Decoders, Work
from ml.errors import LookalikeError
from ml.images import UnreadableImage
from ml.preprocessing import Preprocessing


@dataclass(frozen=True)
class Pixels:
    """A data set and its images: uint8 [n, s, s, 3], in the data set's order; where they lie, in words."""

    dataset: Dataset
    array: np.ndarray
    where: str


def decode(
    dataset: Dataset,
    preprocessing: Preprocessing,
    *,
    on_progress: Progress | None = None,
    memory_bytes: int | None = None,
) -> Pixels:
    """Decodes every image through `Preprocessing.apply`.

    Args:
        dataset: of readable headers; files whose pixels turn out damaged are left out of the result.
        preprocessing: how to scale and cut.
        on_progress: told how many are decoded.
        memory_bytes: most that may be taken of memory; None for half of what is free.

    Raises:
        BadDataset: no image can be decoded.
        LookalikeError: there is no room for the decoded images, or the machine has no processor time for them.
    """
    size = preprocessing.size_px
    needed = len(dataset) * size * size * 3
    limit = _free_bytes() // 2 if memory_bytes is None else memory_bytes
    array, where = _allocate((len(dataset), size, size, 3), in_memory=needed <= limit)

    decoders, work = Decoders(), Work(preprocessing)

    def fill(position: int) -> LeftOut | None:
        path = dataset.paths[position]
        try:
            data = files.read_regular(path)
        except OSError as error:
            return LeftOut(path, f"cannot be read: {error.strerror}")
        try:
            array[position] = decoders.decode(data, work).pixels
        except UnreadableImage as error:
            return LeftOut(path, error.message)
        return None

    failures = {}
    try:
        for position, failure in enumerate(_threaded(fill, len(dataset)), 0):
            if failure:
                failures[position] = failure
            if on_progress:
                on_progress("decoding", position + 1, len(dataset))
    finally:
        decoders.close()
    if not failures:
        return Pixels(dataset, array, where)
    decoded = [position for position in range(len(dataset)) if position not in failures]
    if not decoded:
        raise BadDataset(f"no image of {dataset.name} can be decoded: {next(iter(failures.values())).reason}")
    rest = dataset.subset(decoded)
    left_out = (*dataset.left_out, *failures.values())
    return Pixels(replace(rest, left_out=left_out), array[decoded], where)


def _threaded(work: Callable[[int], LeftOut | None], count: int) -> Iterator[LeftOut | None]:
    # One more than children: it reads a file while they decode.
    with ThreadPoolExecutor(cores.available() + 1) as threads:
        yield from threads.map(work, range(count))


def _allocate(shape: tuple[int, int, int, int], *, in_memory: bool) -> tuple[np.ndarray, str]:
    megabytes = int(np.prod(shape)) / 2**20
    if in_memory:
        return np.empty(shape, np.uint8), f"{megabytes:.0f} MB of memory"
    # Without a name: the space is given back when the run ends, however it ends.
    with tempfile.TemporaryFile(prefix="lookalike-pixels-") as file:
        try:
            _reserve(file.fileno(), int(np.prod(shape)))
        except OSError as error:
            raise LookalikeError(
                f"the temporary folder {tempfile.gettempdir()} cannot hold {megabytes:.0f} MB of decoded images: "
                f"{error.strerror}",
                hint="free space there, or set TMPDIR to a folder that has it",
            ) from error
        return np.memmap(file, np.uint8, "r+", shape=shape), f"{megabytes:.0f} MB in a file"


def _reserve(descriptor: int, size: int) -> None:
    """Gives a file its disk space now. A sparse one would end the process by SIGBUS when the disk gets full later."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    zeros = bytes(2**20)  # macOS
    for offset in range(0, size, len(zeros)):
        os.pwrite(descriptor, zeros[: size - offset], offset)


def _free_bytes() -> int:
    """Memory that can be taken: what is available, and no more than a container's limit leaves."""
    available = 2**31
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        available = int(lines.get("MemAvailable", "2097152 kB").split()[0]) * 1024
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists() and limit.read_text().strip() != "max":
        available = min(available, int(limit.read_text()) - int(used.read_text()))
    return max(0, available)
