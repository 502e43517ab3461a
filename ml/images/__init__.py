"""Bytes to an image: formats, EXIF orientation, colours, limits, one error type.

The bytes come from strangers. The type is read from the content, never from a name; the size is read from the header
and checked before anything is decoded; a warning of the decoder is an error; the first frame is the image. What comes
out is upright RGB, 8 bits a channel, in sRGB, transparent parts over white. Embedding and storage are other rooms'.

    accepted.py     formats by name, limits, the errors
    reading.py      what a file's first bytes say, without decoding; formats/ holds a module for each format
    decoding.py     probe and decode, in this process
    pixels.py       from any mode to upright RGB; colour.py: embedded profiles
    box.py          a part of an image
    thumbnails.py   small copies to show
    copies.py       which images are copies of one photo; overlay.py: one laid over another; shape.py: where to begin
    likeness.py     what is said of copies

Decoders and NumPy are imported by the first that uses them: a command that asks the running system uses none.
"""

import importlib
from typing import TYPE_CHECKING, Any

from ml.images.accepted import FORMATS, FORMATS_SHOWN, BadBox, ImageInfo, Limits, UnreadableImage

if TYPE_CHECKING:
    from ml.images.box import Box
    from ml.images.decoding import decode, probe
    from ml.images.thumbnails import thumbnail

__all__ = [
    "FORMATS",
    "FORMATS_SHOWN",
    "BadBox",
    "Box",
    "ImageInfo",
    "Limits",
    "UnreadableImage",
    "decode",
    "probe",
    "thumbnail",
]

_USED_LATER = {"Box": "box", "decode": "decoding", "probe": "decoding", "thumbnail": "thumbnails"}


def __getattr__(name: str) -> Any:
    if name not in _USED_LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_USED_LATER[name]}"), name)
