"""Reads the tensors of a checkpoint that `torch.save` wrote, without torch and without running what a pickle may hold.

The format is that of torch before 1.6, which the package of the default backbone uses: five pickles one after another
(magic number, protocol, sizes of C types, the tensors, the keys of their storages), then each storage as a count and
raw little-endian values. Two locks: the file must have the SHA-256 that its caller pins, and the reader knows four
names, none of which does anything but hold numbers.
"""

import hashlib
import io
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ml.errors import LookalikeError

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


class BadCheckpoint(LookalikeError):
    """A checkpoint is not the pinned file, or holds something else than plain tensors."""


class _Storage(NamedTuple):
    """A run of values in the file that tensors are views of."""

    key: str
    dtype: str
    length: int


class _TensorView(NamedTuple):
    """What torch._utils._rebuild_tensor_v2 is called with."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    requires_grad: bool
    backward_hooks: Any

    def of(self, values: np.ndarray) -> np.ndarray:
        last = self.offset + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))
        if min([self.offset, *self.shape, *self.stride]) < 0 or last >= len(values):
            raise ValueError(f"a tensor of shape {self.shape} lies outside of its storage")
        steps = [step * values.itemsize for step in self.stride]
        return as_strided(values[self.offset :], self.shape, steps).copy()


class _TensorsOnly(pickle.Unpickler):
    """An unpickler that can make numbers, strings, containers and views of storages."""

    _KNOWN: Mapping[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _TensorView,
        ("torch", "FloatStorage"): "<f4",
        ("torch", "LongStorage"): "<i8",
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._KNOWN[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, which is no tensor") from None

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _device, count, view = pid
        if kind != "storage" or view is not None:
            raise pickle.UnpicklingError(f"it refers to a {kind!r} outside of the file")
        return _Storage(str(key), str(dtype), int(count))


def read_checkpoint(path: Path, sha256: str) -> dict[str, np.ndarray]:
    """The tensors of a pinned checkpoint, by name, in the order of the file.

    Args:
        path: a file written by `torch.save` of a state dict, in the format before torch 1.6.
        sha256: hexadecimal digest that the file must have; nothing is parsed before it is compared.

    Returns:
        name -> float32 or int64 array.

    Raises:
        BadCheckpoint: another file, or one that holds more than tensors.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadCheckpoint(f"{path} cannot be read: {error.strerror}") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != sha256:
        raise BadCheckpoint(
            f"{path} has SHA-256 {digest[:16]}…, expected {sha256[:16]}…", hint="install Lookalike again"
        )
    try:
        return _parse(io.BytesIO(data), data)
    except (
        pickle.UnpicklingError,
        ArithmeticError,
        AttributeError,
        EOFError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        raise BadCheckpoint(f"{path} is no checkpoint of plain tensors: {error}") from error


def _parse(file: BinaryIO, data: bytes) -> dict[str, np.ndarray]:
    header = [_TensorsOnly(file).load() for _ in range(3)]
    if header[:2] != [_MAGIC, _PROTOCOL] or header[2].get("little_endian") is not True:
        raise ValueError("its header is not that of torch.save before 1.6 on a little-endian machine")
    views: dict[str, _TensorView] = _TensorsOnly(file).load()
    keys: list[str] = _TensorsOnly(file).load()
    storages = {view.storage.key: view.storage for view in views.values()}
    values = {}
    position = file.tell()
    for key in keys:
        storage = storages[key]
        if int.from_bytes(data[position : position + 8], "little") != storage.length:
            raise ValueError(f"storage {key} has another size than its tensors say")
        values[key] = np.frombuffer(data, storage.dtype, storage.length, position + 8)
        position += 8 + values[key].nbytes
    return {name: view.of(values[view.storage.key]) for name, view in views.items()}
