"""A network on a GPU near its full speed: batches of fixed sizes, recorded once and replayed, copied while others run.

A forward pass is hundreds of small kernels, and starting each costs the processor more than many of them take: a CUDA
graph starts all of them at once, for one shape. Images travel from page-locked memory on a stream of their own while
the batch before them is computed, and vectors are fetched one batch behind. On a CPU the same steps run one after
the other, for tests.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ml.model.backend import Interrupted

SIZES = (1, 4, 16, 64, 256)
_WARM_UPS = 3  # passes before a graph is recorded: libraries choose their kernels in the first


def pieces(count: int, sizes: tuple[int, ...] = SIZES) -> Iterator[tuple[int, int]]:
    """How many images go in a batch of which size, one batch after the other.

    A batch is filled up with anything where at least half of it is used, for two passes would take longer.
    """
    while count > 0:
        size = max((size for size in sizes if size <= count or size <= 2 * count), default=sizes[0])
        taken = min(size, count)
        yield taken, size
        count -= taken


@dataclass
class _Recorded:
    """A forward pass of one batch size."""

    pixels: Tensor
    vectors: Tensor
    replay: Callable[[], None]


class _Slot:
    """Memory for one batch on its way: page-locked here, and on the device."""

    def __init__(self, size: int, size_px: int, dim: int, device: torch.device) -> None:
        shape, is_cuda = (size, size_px, size_px, 3), device.type == "cuda"
        self.pixels = torch.empty(shape, dtype=torch.uint8, pin_memory=is_cuda)
        self.staged = torch.empty(shape, dtype=torch.uint8, device=device)
        self.vectors = torch.empty((size, dim), dtype=torch.float32, pin_memory=is_cuda)
        self.arrived: Any = torch.cuda.Event() if is_cuda else _NoEvent()
        self.done: Any = torch.cuda.Event() if is_cuda else _NoEvent()


class _NoEvent:
    """Where everything has happened already."""

    def record(self, stream: Any) -> None: ...

    def synchronize(self) -> None: ...


class FixedBatches:
    """Runs one network. Not safe to use from several threads at once.

    Args:
        forward: uint8 [n, s, s, 3] on the device to float [n, dim].
        device: where.
        size_px: s.
        dim: length of the vectors.
        sizes: of batches, ascending.
    """

    def __init__(
        self,
        forward: Callable[[Tensor], Tensor],
        device: torch.device,
        size_px: int,
        dim: int,
        sizes: tuple[int, ...] = SIZES,
    ) -> None:
        self._forward, self._device, self._size_px, self._dim, self._sizes = forward, device, size_px, dim, sizes
        self._recorded: dict[int, _Recorded] = {}
        self._slots: list[_Slot] = []
        self._is_cuda = device.type == "cuda"
        self._copies: Any = torch.cuda.Stream(device) if self._is_cuda else None
        self._computes: Any = torch.cuda.Stream(device) if self._is_cuda else None

    def __call__(self, pixels: np.ndarray | Tensor, is_interrupted: Callable[[], bool] = lambda: False) -> np.ndarray:
        """uint8 [n, s, s, 3], here or as a tensor on the device, to float32 [n, dim].

        Raises:
            Interrupted: `is_interrupted` said so between two batches.
        """
        vectors = np.empty((len(pixels), self._dim), np.float32)
        flying: deque[tuple[_Slot, slice]] = deque()
        try:
            start = 0
            for number, (count, size) in enumerate(pieces(len(pixels), self._sizes)):
                if is_interrupted():
                    raise Interrupted
                if len(flying) == 2:
                    _land(*flying.popleft(), vectors)
                slot, rows = self._slot(number % 2, size), slice(start, start + count)
                self._start(slot, pixels[rows], size)
                flying.append((slot, rows))
                start += count
        finally:
            while flying:
                _land(*flying.popleft(), vectors)
        return vectors

    def _start(self, slot: _Slot, pixels: np.ndarray | Tensor, size: int) -> None:
        """Sends a batch on its way; `slot.done` tells when its vectors are back."""
        recorded, count = self._recorded.get(size) or self._record(size), len(pixels)
        if isinstance(pixels, Tensor):
            source = pixels
            if self._is_cuda:  # it may still be in the making, and must not be given to others before it is copied
                self._copies.wait_stream(torch.cuda.current_stream(self._device))
                source.record_stream(self._copies)
        else:
            slot.pixels.numpy()[:count] = pixels
            source = slot.pixels[:count]
        with self._on(self._copies):
            slot.staged[:count].copy_(source, non_blocking=True)
            slot.arrived.record(self._copies)
        with self._on(self._computes), torch.inference_mode():
            if self._is_cuda:
                self._computes.wait_event(slot.arrived)
            recorded.pixels[:count].copy_(slot.staged[:count])
            recorded.replay()
            slot.vectors[:count].copy_(recorded.vectors[:count], non_blocking=True)
            slot.done.record(self._computes)

    def _slot(self, number: int, size: int) -> _Slot:
        """Grown to what is needed: who only searches holds no memory for bulk work."""
        while len(self._slots) <= number:
            self._slots.append(_Slot(size, self._size_px, self._dim, self._device))
        if len(self._slots[number].pixels) < size:
            self._slots[number] = _Slot(size, self._size_px, self._dim, self._device)
        return self._slots[number]

    def _record(self, size: int) -> _Recorded:
        pixels = torch.zeros((size, self._size_px, self._size_px, 3), dtype=torch.uint8, device=self._device)
        made = self._as_graph(pixels) if self._is_cuda else self._as_it_is(pixels)
        self._recorded[size] = made
        return made

    def _as_it_is(self, pixels: Tensor) -> _Recorded:
        vectors = torch.zeros((len(pixels), self._dim), dtype=torch.float32)

        def replay() -> None:
            vectors.copy_(self._forward(pixels))

        return _Recorded(pixels, vectors, replay)

    def _as_graph(self, pixels: Tensor) -> _Recorded:
        self._computes.wait_stream(torch.cuda.current_stream(self._device))  # weights and pixels are made there
        with self._on(self._computes), torch.inference_mode():
            for _ in range(_WARM_UPS):
                self._forward(pixels)
        self._computes.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.inference_mode(), torch.cuda.graph(graph, stream=self._computes):
            vectors = self._forward(pixels).float()
        return _Recorded(pixels, vectors, graph.replay)

    def _on(self, stream: Any) -> AbstractContextManager[object]:
        return torch.cuda.stream(stream) if self._is_cuda else contextlib.nullcontext()


def _land(slot: _Slot, rows: slice, vectors: np.ndarray) -> None:
    slot.done.synchronize()
    vectors[rows] = slot.vectors[: rows.stop - rows.start].numpy()


def half_forward(model: nn.Module, device: torch.device, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """The forward pass in 16 bits, channels last, fit to be recorded. Changes the model: its weights are cast once.

    Those of its part `backbone`, that is; what sums up and normalises stays in float32, as autocast has it.
    """
    model.eval().to(device).to(memory_format=torch.channels_last)
    for module in model.get_submodule("backbone").modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.to(dtype)

    def forward(pixels: Tensor) -> Tensor:
        # Without the cache: what it keeps of a recorded pass is not there when the pass is replayed.
        with torch.autocast(device.type, dtype, cache_enabled=False):
            vectors: Tensor = model(pixels)
            return vectors

    return forward
