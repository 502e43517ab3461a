"""Joins the images of concurrent tasks into one forward pass. Searches go before indexing.

One thread owns the processor that models run on. It takes what is waiting and never waits for more, so a lone search
pays nothing; under load the batch grows by itself. Bulk work goes in slices of some 12 ms, whatever the model and the
processor, and of an image for each core at least, which the pieces of several tasks fill together. A search interrupts
the slice under way, which is done again later; a GPU does not let go of what it has begun, so a search waits there for
one batch at most. From a search's first moment to its last no further slice begins, and decoders hold back, too. After
a twentieth of a second bulk work has its turn all the same: searches without end slow indexing down and never stop it.
"""

import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from ml.model.backend import Interrupted
from ml.model.embedder import Embedder
from workers.errors import Unavailable
from workers.metrics import BATCH_IMAGES

BULK_SLICE_S = 0.012
_LONGEST_YIELD_S = 0.05  # a search takes a third of it


@dataclass
class _Item:
    embedder: Embedder
    pixels: np.ndarray
    future: "Future[np.ndarray]" = field(default_factory=Future)


class Batcher:
    """Runs embedders, one batch at a time."""

    def __init__(self) -> None:
        lock = threading.Lock()
        self._wake = threading.Condition(lock)  # for the batcher's thread
        self._idle = threading.Condition(lock)  # for those that give way
        self._searches = 0
        self._urgent: deque[_Item] = deque()
        self._bulk: deque[_Item] = deque()
        self._closed = False
        self._speed: dict[int, float] = {}  # images/s by embedder
        self._bulk_at = 0.0  # when bulk work last had its turn, or began to wait for one
        self._preemptible: Embedder | None = None  # what runs a slice that a search may interrupt
        self._thread = threading.Thread(target=self._run, name="batcher", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def searching(self) -> Iterator[None]:
        """For the whole of a search: bulk work gives way to it."""
        with self._wake:
            self._searches += 1
            if self._preemptible is not None:
                self._preemptible.interrupt()
        try:
            yield
        finally:
            with self._wake:
                self._searches -= 1
                if not self._searches:
                    self._wake.notify()
                    self._idle.notify_all()

    def yield_to_searches(self) -> None:
        """For bulk work before each bit of it, such as an image to decode: returns when no search is under way.

        Or after a twentieth of a second: somebody always searches where many do.
        """
        with self._idle:
            self._idle.wait_for(lambda: not self._searches, _LONGEST_YIELD_S)

    def embed(self, embedder: Embedder, pixels: np.ndarray, *, urgent: bool) -> np.ndarray:
        """Waits for the vectors of some images.

        Args:
            embedder: the model to use.
            pixels: uint8 [n, s, s, 3].
            urgent: before everything that is not.

        Returns:
            float32 [n, dim], unit rows.

        Raises:
            Unavailable: it was closed meanwhile.
        """
        if not len(pixels):
            return np.empty((0, embedder.dim), np.float32)
        step = embedder.largest_batch if urgent else self._bulk_slice(embedder)
        items = [_Item(embedder, pixels[start : start + step]) for start in range(0, len(pixels), step)]
        with self._wake:
            if self._closed:
                raise _ended()
            if not urgent and not self._bulk:
                self._bulk_at = time.monotonic()
            (self._urgent if urgent else self._bulk).extend(items)
            self._wake.notify()
        return np.concatenate([item.future.result() for item in items])

    def close(self) -> None:
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()
        for item in (*self._urgent, *self._bulk):
            item.future.set_exception(_ended())

    def _bulk_slice(self, embedder: Embedder) -> int:
        """Images that take about as long as a slice may, so many that no core is idle meanwhile.

        A single image would be spread over all cores, as a search's is, and take them a third longer than one each.
        """
        rounds = math.ceil(BULK_SLICE_S * self._speed.get(id(embedder), 0.0) / embedder.side_by_side)
        return min(embedder.largest_batch, max(1, rounds) * embedder.side_by_side)

    def _run(self) -> None:
        while batch := self._take():
            embedder = batch[0].embedder
            started = time.perf_counter()
            try:
                vectors = embedder.embed_arrays(np.concatenate([item.pixels for item in batch]))
            except Interrupted:
                with self._wake:
                    self._bulk.extendleft(reversed(batch))
                    self._preemptible = None  # that was no turn
                continue
            except Exception as error:  # noqa: BLE001 - whoever waits must hear of it, whatever it is
                for item in batch:
                    item.future.set_exception(error)
                continue
            speed = len(vectors) / (time.perf_counter() - started)
            self._speed[id(embedder)] = 0.8 * self._speed.get(id(embedder), speed) + 0.2 * speed
            BATCH_IMAGES.observe(len(vectors))
            start = 0
            for item in batch:
                item.future.set_result(vectors[start : start + len(item.pixels)])
                start += len(item.pixels)

    def _take(self) -> list[_Item]:
        """The next batch: of one model, and urgent or not; empty when closed."""
        with self._wake:
            if self._preemptible is not None:
                self._preemptible = None
                self._bulk_at = time.monotonic()
            while True:
                patience_s = self._bulk_at + _LONGEST_YIELD_S - time.monotonic()
                if self._bulk and not (self._urgent or self._searches):
                    self._preemptible = self._bulk[0].embedder
                    return _joined(self._bulk, self._bulk_slice(self._preemptible))
                if self._bulk and patience_s <= 0:
                    self._bulk_at = time.monotonic()
                    return _joined(self._bulk, self._bulk_slice(self._bulk[0].embedder))
                if self._urgent or self._closed:
                    return _joined(self._urgent, self._urgent[0].embedder.largest_batch) if self._urgent else []
                self._wake.wait(patience_s if self._bulk else None)


def _ended() -> Unavailable:
    return Unavailable("the worker is ending", hint="try again")


def _joined(waiting: deque[_Item], most: int) -> list[_Item]:
    """Takes the first, and those behind it that are for the same model, while they are no more images than may be."""
    batch = [waiting.popleft()]
    room = most - len(batch[0].pixels)
    while waiting and waiting[0].embedder is batch[0].embedder and len(waiting[0].pixels) <= room:
        room -= len(waiting[0].pixels)
        batch.append(waiting.popleft())
    return batch
