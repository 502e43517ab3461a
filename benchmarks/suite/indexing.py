"""Photos into the gallery of a running system, beside what each of them costs at least."""

import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.processes import processor_s
from benchmarks.suite.photos import TWELVE_MEGAPIXELS, folder_of, photos
from benchmarks.suite.record import Effort, Found, race
from deploy.cli.find_files import Walk
from deploy.cli.upload_folder import index
from deploy.local.stack import Stack
from ml.decoders.work import Work, carry_out
from ml.model import embedder
from ml.model.default import write_default
from workers import settings
from workers.client import Client
from workers.tasks.reconcile import THUMBNAIL_PX

OURS = "lookalike index, its worker"
LIMIT = "limit: decode, thumbnail and forward, nothing else"


def measure(effort: Effort) -> Found:
    """Processor time of a photo: it hardly depends on what else the machine does. And photos per second."""
    races, figures = {}, {}
    sizes = {"348 px": ((348, 348), effort.of(192, 8)), "12 megapixels": (TWELVE_MEGAPIXELS, effort.of(32, 2))}
    with tempfile.TemporaryDirectory() as scratch:
        bundle = write_default(Path(scratch) / "bundle")
        network = embedder.load(bundle.directory, device="cpu", cache_dir=Path(scratch) / "compiled")
        work = Work(network.preprocessing, THUMBNAIL_PX)

        def least(jpegs: list[bytes]) -> float:
            began = time.process_time()
            for start in range(0, len(jpegs), 16):
                made = [carry_out(data, work).pixels for data in jpegs[start : start + 16]]
                network.embed_arrays(np.stack(made))
            return 1000 * (time.process_time() - began) / len(jpegs)

        with Stack(settings.load({"LOOKALIKE_HOME": f"{scratch}/home"})) as stack:
            system = _System(stack, Path(scratch))
            for name, (size, count) in sizes.items():
                rates: list[float] = []
                jpegs = photos(count, size)
                found = race(
                    {
                        OURS: lambda size=size, count=count, rates=rates: system.take(count, size, rates),  # type: ignore[misc]
                        LIMIT: lambda jpegs=jpegs: least(jpegs),  # type: ignore[misc]
                    },
                    effort,
                    what=f"photos of {name}, processor time of each",
                    unit="ms",
                    limit=LIMIT,
                )
                races[name] = found
                figures[f"{name}, over its limit"] = 1 / found.ratio(LIMIT)
                figures[f"{name}, photos/s"] = float(np.median(rates[1:]))
    return Found(races, figures=figures)


class _System:
    def __init__(self, stack: Stack, scratch: Path) -> None:
        self._client, self._pid, self._scratch, self._number = (
            Client(stack.settings),
            stack.runner("worker").pid,
            scratch,
            0,
        )

    def take(self, count: int, size: tuple[int, int], rates: list[float]) -> float:
        """Indexes photos that it has not seen; milliseconds of its worker's processor time, decoders included."""
        self._number += 1
        folder = folder_of(photos(count, size), self._scratch / str(self._number))
        assert self._pid
        began, spent = time.perf_counter(), processor_s(self._pid)
        status = index(self._client, Walk([folder]), progress=lambda _done, _total: None)
        assert status.added == count, status
        rates.append(count / (time.perf_counter() - began))
        return 1000 * (processor_s(self._pid) - spent) / count
