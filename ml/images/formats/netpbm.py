"""PBM, PGM and PPM, plain and binary, and gray PFM.

The numbers of the header are read with one expression, however long the comments between them are.
"""

import re
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ml.images import deep_colour
from ml.images.accepted import damaged, truncated, unsupported
from ml.images.header import Header

# Possessive: millions of comments leave nothing to go back to.
_GAP = rb"(?:[ \t\r\n\v\f]++|#[^\r\n]*+[\r\n])++"
_SIZE = re.compile(_GAP + rb"(\d{1,10})" + _GAP + rb"(\d{1,10})")
_MOST = re.compile(_GAP + rb"(\d{1,10})")
_SCALE = re.compile(_GAP + rb"([-+]?[0-9.]{1,20}(?:[eE][-+]?\d{1,3})?)")
_COMMENT = re.compile(rb"#[^\r\n]*")
_SPACE = b" \t\r\n\v\f"
_CHANNELS = {b"P1": 1, b"P2": 1, b"P3": 3, b"P4": 1, b"P5": 1, b"P6": 3, b"Pf": 1, b"PF": 3}
MAGIC = (*_CHANNELS, b"P7", b"P0", b"Py")


@dataclass(frozen=True)
class NetpbmHeader(Header):
    """What decoding has to know besides.

    Args:
        kind: the two letters that the file begins with.
        most: the value that is white.
        pixels_at: where values begin.
        is_big_endian: byte order of floating point values.
    """

    kind: bytes = b""
    most: int = 1
    pixels_at: int = 0
    is_big_endian: bool = True


def read(data: bytes) -> Header:
    kind = data[:2]
    if kind not in _CHANNELS:
        raise unsupported("a PAM" if kind == b"P7" else "an image of a PPM's relatives")
    size = _SIZE.match(data, 2)
    if size is None:
        raise damaged()
    width, height, end, most, is_big_endian = int(size[1]), int(size[2]), size.end(), 1, True
    if kind not in (b"P1", b"P4"):
        last = (_SCALE if kind in (b"Pf", b"PF") else _MOST).match(data, end)
        if last is None:
            raise damaged()
        end = last.end()
        if kind in (b"Pf", b"PF"):
            is_big_endian = not last[1].startswith(b"-")
        else:
            most = int(last[1])
            if not 1 <= most <= 65535:
                raise damaged()
    if data[end : end + 1] not in [bytes([byte]) for byte in _SPACE]:
        raise damaged() if data[end : end + 1] else truncated()
    return NetpbmHeader("PPM", width, height, kind=kind, most=most, pixels_at=end + 1, is_big_endian=is_big_endian)


def open(data: bytes, header: NetpbmHeader) -> Image.Image:
    """The image; of more than 8 bits a sample in mode I;16 or F, if gray."""
    if header.kind in (b"P1", b"P2", b"P3"):
        values = _plain(data, header)
    elif header.kind == b"P4":
        return _bitmap(data, header)
    elif header.kind in (b"Pf", b"PF"):
        values = _binary(data, header, np.dtype(f"{'>' if header.is_big_endian else '<'}f4"))[::-1]
        return _float(values)
    else:
        values = _binary(data, header, np.dtype(">u2" if header.most > 255 else "u1"))
    most = header.most
    if most == 65535:
        most = deep_colour.white_of(values.max(initial=0), deep_colour.DEPTHS)
    return _scaled(values, most)


def _shape(header: NetpbmHeader) -> tuple[int, ...]:
    channels = _CHANNELS[header.kind]
    return (header.height, header.width, 3) if channels == 3 else (header.height, header.width)


def _binary(data: bytes, header: NetpbmHeader, dtype: np.dtype) -> np.ndarray:
    count = int(np.prod(_shape(header)))
    if len(data) - header.pixels_at < count * dtype.itemsize:
        raise truncated()
    return np.frombuffer(data, dtype, count, header.pixels_at).reshape(_shape(header))


def _bitmap(data: bytes, header: NetpbmHeader) -> Image.Image:
    stride = (header.width + 7) // 8
    rows = data[header.pixels_at : header.pixels_at + stride * header.height]
    if len(rows) < stride * header.height:
        raise truncated()
    return Image.frombytes("1", (header.width, header.height), rows, "raw", "1;I")


def _plain(data: bytes, header: NetpbmHeader) -> np.ndarray:
    text = _COMMENT.sub(b" ", data[header.pixels_at :])
    count = int(np.prod(_shape(header)))
    if header.kind == b"P1":
        digits = np.frombuffer(text.translate(None, _SPACE), np.uint8)[:count]
        values = 49 - digits.astype(np.int16)  # 1 is black
    else:
        with warnings.catch_warnings():  # says that text does not end in a number
            warnings.simplefilter("ignore", DeprecationWarning)
            values = np.fromstring(text, np.int64, count, sep=" ")
    if len(values) < count:
        raise truncated()
    if values.min(initial=0) < 0 or values.max(initial=0) > header.most:
        raise damaged()
    return values.reshape(_shape(header))


def _scaled(values: np.ndarray, most: int) -> Image.Image:
    if values.ndim == 2 and most > 255:
        return Image.fromarray((values * (65535.0 / most) + 0.5).clip(0, 65535).astype(np.uint16))
    if most == 255:
        return Image.fromarray(values.astype(np.uint8))
    return Image.fromarray((values * np.float32(255.0 / most) + np.float32(0.5)).clip(0, 255).astype(np.uint8))


def _float(values: np.ndarray) -> Image.Image:
    if values.ndim == 2:
        return Image.fromarray(values.astype(np.float32))
    return Image.fromarray((np.nan_to_num(values).clip(0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8))
