"""What every backend (OpenVINO, torch) offers: a loaded network on some device."""

from typing import Protocol

import numpy as np


class Interrupted(Exception):
    """A call was ended by `interrupt` and gave nothing."""


class Network(Protocol):
    """A loaded network on some device."""

    device: str
    precision: str
    why: str
    largest_batch: int  # images beyond which a call gains nothing
    side_by_side: int  # images that are computed at the same time: fewer leave cores idle

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 [n, s, s, 3] to float32 [n, dim], rows of unit length."""
        ...

    def interrupt(self) -> None:
        """From another thread: ends the call under way, where the device can, which then raises Interrupted."""
        ...
