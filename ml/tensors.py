"""Tensors from elsewhere: safetensors read with everything about them said beforehand.

The format runs no code. What it leaves open is how large its header is, and whether the tensors are those that the
reader goes on to index.
"""

import json
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

LONGEST_HEADER = 2**20  # a hundred bytes for each tensor; the largest backbones of timm have about a thousand


class Expected(NamedTuple):
    """A tensor's type and shape; None where a dimension is free."""

    dtype: str
    shape: tuple[int | None, ...]


def check_header(data: bytes) -> None:
    """Whether the bytes, of which the first nine will do, begin a safetensors file of a sane header.

    Raises:
        ValueError: they do not. One line says why.
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 9 or data[8:9] != b"{":
        raise ValueError("it is no safetensors file")
    if length > LONGEST_HEADER:
        raise ValueError(f"its header claims {length} bytes, the limit is {LONGEST_HEADER}")


def loads(data: bytes, expected: Mapping[str, Expected] | None = None) -> dict[str, np.ndarray]:
    """The tensors of a file's content, finite numbers all of them.

    Args:
        data: a whole safetensors file.
        expected: name -> what it must be; others are passed over. None: whatever there is.

    Raises:
        ValueError: one is missing, or is something else. One line says which.
    """
    check_header(data)
    try:
        tensors = load(data)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"it is no safetensors file: {reason}") from None
    if expected is None:
        expected = {name: Expected(str(tensor.dtype), tensor.shape) for name, tensor in tensors.items()}
    for name, (dtype, shape) in expected.items():
        tensor = tensors.get(name)
        if tensor is None:
            raise ValueError(f"it lacks the tensor {name!r}")
        fits = len(tensor.shape) == len(shape) and all(
            want in (None, has) for has, want in zip(tensor.shape, shape, strict=True)
        )
        if tensor.dtype != np.dtype(dtype) or not fits:
            wanted = json.dumps(list(shape)).replace("null", "any")
            raise ValueError(f"{name} is {tensor.dtype} {list(tensor.shape)}, not {dtype} {wanted}")
        if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
            raise ValueError(f"{name} holds what is no number")
    return {name: tensors[name] for name in expected}
