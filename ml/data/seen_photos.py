"""Which photos a model was trained on, small enough to be kept with it: eight bytes of each one's SHA-256.

Two different photos share eight bytes by chance once in 2**64 pairs.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

_BYTES = 8
_DIGITS = 2 * _BYTES


def packed(sha256: Iterable[str]) -> str:
    """SHA-256 in hexadecimal to one line of text."""
    beginnings = sorted({content[:_DIGITS] for content in sha256})
    return base64.b64encode(bytes.fromhex("".join(beginnings))).decode()


def tuned_to(lineage: Mapping[str, Any], sha256: Iterable[str]) -> int:
    """How many of these photos, by their SHA-256, a model's head was fitted to without their labels."""
    seen = SeenPhotos({"data": {"photos": (lineage.get("tuning") or {}).get("seen")}})
    return sum(content in seen for content in sha256)


def packed_names(classes: Iterable[str]) -> str:
    """Names of classes, as short as photos are kept."""
    return packed(_digest(name) for name in classes)


def knows_class(lineage: Mapping[str, Any], name: str) -> bool:
    """Whether a model may have been trained on a class of this name: also where its lineage does not say."""
    line = (lineage.get("data") or {}).get("class_names")
    return line is None or _digest(name) in SeenPhotos({"data": {"photos": line}})


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()


class SeenPhotos:
    """The photos that a model's lineage names. A model from before they were kept has seen nothing that is known.

    Args:
        lineage: of the model.
    """

    def __init__(self, lineage: dict[str, Any]) -> None:
        line = (lineage.get("data") or {}).get("photos")
        self.is_known = line is not None
        content = np.frombuffer(base64.b64decode(line or ""), np.uint8).reshape(-1, _BYTES)
        self._beginnings = {row.tobytes().hex() for row in content}

    def __contains__(self, sha256: str) -> bool:
        """Whether a photo is among them, by its SHA-256 or by the beginning of it that is its id in the gallery."""
        return sha256[:_DIGITS] in self._beginnings
