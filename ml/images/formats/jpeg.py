"""JPEG: what its segments say, and the bytes that a decoder needs, without whatever stands before, between and behind.

A decoder gets an image that ends where its end marker stands. One that lacks the marker alone is what its pixels show;
one that lacks more is found out by decoding it with two different endings: where they differ, pixels are missing.
"""

import io
import re
import struct
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, JpegImagePlugin

from ml.images.accepted import UnreadableImage, damaged, truncated, unsupported
from ml.images.formats import ifd
from ml.images.header import Header

_SOI, _EOI, _SOS = b"\xff\xd8", b"\xff\xd9", 0xDA
_MARKER = re.compile(rb"\xff([^\x00\xff])")
_SCAN_END = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")  # in a scan FF00 is data, and restart markers belong to it
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}
_FRAMES = {0xC0: "", 0xC1: "", 0xC2: "", 0xC9: "", 0xCA: ""}  # sequential or progressive, Huffman or arithmetic
_OTHER_FRAMES = {0xC3: "lossless", 0xC5: "hierarchical", 0xC6: "hierarchical", 0xC7: "hierarchical lossless"}
_OTHER_FRAMES |= {0xCB: "lossless", 0xCD: "hierarchical", 0xCE: "hierarchical", 0xCF: "hierarchical lossless"}
_OTHER_FRAMES |= {0xF7: "JPEG-LS"}
_PROGRESSIVE = (0xC2, 0xCA)

_MOST_SEGMENTS = 10_000  # a profile of 16 MB is 250 of them
# Programs write up to a dozen. Each goes over the whole image, in a file that may hold nothing but their headers.
MOST_SCANS = 100
# Pixels gone over in all scans together, some 0.6 ns each: a dozen scans of 200 megapixels, or 100 of 30.
MOST_PIXELS_OF_SCANS = 3_000_000_000
_MOST_PROFILE = 4 * 2**20
# Rows that may be missing: the last row of blocks, if that is no noticeable part of the image.
_MOST_MISSING = 16
_MOST_MISSING_SHARE = 1 / 16
_SAVE_AGAIN = "save it again as JPEG"
_FILLING = bytes(range(1, 250)) * 16  # any bits that are neither a marker nor what zeros would decode to


@dataclass(frozen=True)
class JpegHeader(Header):
    """What decoding has to know of a JPEG besides.

    Args:
        kept: the segments before the first scan that change pixels.
        scans_at: where the first scan begins.
        components: how many there are.
        is_progressive: many scans refine the same pixels.
        profile: the ICC profile.
    """

    kept: bytes = b""
    scans_at: int = 0
    components: int = 3
    is_progressive: bool = False
    profile: bytes = b""

    @property
    def most_scans(self) -> int:
        """What programs write, and no more than would take seconds to decode."""
        return min(MOST_SCANS, max(20, MOST_PIXELS_OF_SCANS // max(1, self.width * self.height)))


@dataclass
class _Found:
    """What the segments up to the first scan hold."""

    kept: list[bytes] = field(default_factory=lambda: [_SOI])
    size: tuple[int, int] | None = None
    components: int = 0
    is_progressive: bool = False
    orientation: int | None = None
    taken_at: float | None = None
    profile: dict[int, bytes] = field(default_factory=dict)


def read(data: bytes) -> Header:
    """Reads segments up to the first scan."""
    found, at = _Found(), 2
    for _ in range(_MOST_SEGMENTS):
        marker, at = _next(data, at, _MARKER)
        if marker == _SOS:
            return _header(found, at - 2)
        if marker == _EOI[1]:
            raise damaged()
        if marker in _WITHOUT_LENGTH or marker == _SOI[1]:
            continue
        (length,) = struct.unpack_from(">H", data, at)
        if length < 2:
            raise damaged()
        body = data[at + 2 : at + length]
        if len(body) < length - 2:
            raise truncated()
        _take(found, marker, body, data[at - 2 : at + length])
        at += length
    raise damaged()


def _take(found: _Found, marker: int, body: bytes, segment: bytes) -> None:
    if marker in _OTHER_FRAMES:
        raise unsupported(f"a {_OTHER_FRAMES[marker]} JPEG")
    if marker in _FRAMES:
        bits, height, width, components = struct.unpack_from(">BHHB", body)
        if bits != 8:
            raise unsupported(f"a JPEG with {bits} bits per sample")
        if components not in (1, 3, 4):
            raise unsupported(f"a JPEG of {components} channels")
        found.size, found.components = (width, height), components
        found.is_progressive = marker in _PROGRESSIVE
    elif marker == 0xE1 and body.startswith(b"Exif\x00\x00"):
        if found.orientation is None:
            found.orientation, found.taken_at = ifd.orientation(body), ifd.taken_at(body)
        return
    elif marker == 0xE2 and body.startswith(b"ICC_PROFILE\x00") and len(body) > 14:
        found.profile.setdefault(body[12], body[14:])
        return
    elif marker == 0xFE or (0xE0 <= marker <= 0xEF and not body.startswith((b"JFIF", b"Adobe"))):
        return  # comments and programs' own: nothing that changes pixels
    found.kept.append(segment)


def _header(found: _Found, scans_at: int) -> JpegHeader:
    if found.size is None:
        raise damaged()
    profile = b"".join(found.profile[number] for number in sorted(found.profile))
    return JpegHeader(
        "JPEG",
        *found.size,
        orientation=found.orientation or 1,
        taken_at=found.taken_at,
        kept=b"".join(found.kept),
        scans_at=scans_at,
        components=found.components,
        is_progressive=found.is_progressive,
        profile=profile if len(profile) <= _MOST_PROFILE else b"",
    )


def _next(data: bytes, at: int, pattern: re.Pattern[bytes]) -> tuple[int, int]:
    """The next marker and the place behind it."""
    match = pattern.search(data, at)
    if match is None:
        raise truncated()
    return match[1][0], match.end()


def open(data: bytes, header: JpegHeader) -> Image.Image:
    """Pillow's image of the pixels alone.

    Raises:
        UnreadableImage: rows are missing, or there are more scans than any program writes.
    """
    scans = data[header.scans_at :]
    if not scans.endswith(_EOI) or scans.count(b"\xff\xda") > header.most_scans:
        scans = _ended(scans, header)
    return _opened(header.kept + scans)


def _opened(data: bytes) -> Image.Image:
    # Not through Image.open: that looks for the second image which some phones append, and stumbles over it.
    return JpegImagePlugin.JpegImageFile(io.BytesIO(data))


def _ended(scans: bytes, header: JpegHeader) -> bytes:
    """The scans up to their end marker, which is set where it is missing."""
    end, is_marked, seen = _walk(scans, header)
    if is_marked:
        return scans[:end] + _EOI
    bare = scans[:end].removesuffix(b"\xff")
    if not _is_complete(seen, header):
        raise truncated()
    missing = _missing_rows(header.kept + bare)
    if missing > min(_MOST_MISSING, header.height * _MOST_MISSING_SHARE):
        raise UnreadableImage(f"is truncated: {missing:.0f} of {header.height} rows are missing")
    return bare + _EOI


@dataclass(frozen=True)
class _Scan:
    """Which coefficients of which components a scan brings; `low` bits of them are left to later scans."""

    components: tuple[int, ...]
    first: int
    last: int
    low: int


def _walk(scans: bytes, header: JpegHeader) -> tuple[int, bool, list[_Scan]]:
    """Where the image ends, whether its end marker stands there, and the scans up to there.

    Raises:
        UnreadableImage: there are too many scans.
    """
    seen: list[_Scan] = []
    at = 0
    while match := _SCAN_END.search(scans, at):
        marker, at = match[1][0], match.end()
        if marker in (_EOI[1], _SOI[1]):
            return match.start(), marker == _EOI[1], seen
        if marker in _WITHOUT_LENGTH:
            continue
        if at + 2 > len(scans):
            break
        (length,) = struct.unpack_from(">H", scans, at)
        if marker == _SOS:
            if len(seen) == header.most_scans:
                size = f" of {header.width} x {header.height} pixels" if header.most_scans < MOST_SCANS else ""
                raise UnreadableImage(f"is a JPEG{size} in more than {header.most_scans} scans", hint=_SAVE_AGAIN)
            body = scans[at + 2 : at + length]
            if len(body) < 6 or len(body) < 4 + 2 * body[0]:
                break
            first, last, bits = body[1 + 2 * body[0] : 4 + 2 * body[0]]
            seen.append(_Scan(tuple(body[1 : 1 + 2 * body[0] : 2]), first, last, bits & 15))
        at += length
    return len(scans), False, seen


def _is_complete(seen: list[_Scan], header: JpegHeader) -> bool:
    """Whether all coefficients of all components have had their scan; the last scan may be cut short."""
    if not header.is_progressive:
        return len({component for scan in seen for component in scan.components}) >= header.components
    whole: dict[int, set[int]] = {}
    for scan in seen:
        for component in scan.components if scan.low == 0 else ():
            whole.setdefault(component, set()).update(range(scan.first, scan.last + 1))
    return sum(len(coefficients) == 64 for coefficients in whole.values()) >= header.components


def _missing_rows(data: bytes) -> float:
    """How many rows' worth of pixels depends on what is put in the place of the missing end."""
    plain = np.asarray(_opened(data + _EOI))
    filled = np.asarray(_opened(data + _FILLING + _EOI))
    differs = (plain != filled).any(axis=2) if plain.ndim == 3 else plain != filled
    rows = np.flatnonzero(differs.any(axis=1))
    if not len(rows):
        return 0.0
    height, width = differs.shape
    top = int(rows[0])
    first_block = differs[top : top + 8]
    left = int(np.flatnonzero(first_block.any(axis=0))[0])
    # The row of blocks in which it begins is missing from `left` on, all below it are missing whole.
    block = min(_MOST_MISSING, height - top)
    missing: float = block * (1 - left / width) + (height - top - block)
    return missing
