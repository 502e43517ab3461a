"""HEIC and AVIF: size and turning of the first image, from the boxes of the file; and which of its relatives a file is.

Whatever the boxes say of turning and mirroring, the decoder does; EXIF's orientation does not count beside it.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pillow_heif
from PIL import AvifImagePlugin, Image

from ml.images.accepted import damaged, truncated, unsupported
from ml.images.header import Header

_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"mif2"}
_AVIF_BRANDS = {b"avif", b"avis"}
_RAW_BRANDS = {b"crx "}
_MOST_BOXES = 4096
_MOST_META = 8 * 2**20

pillow_heif.register_heif_opener()


def kind(data: bytes) -> str | None:
    """HEIF, AVIF or RAW (Canon's CR3); None when the file is none of these."""
    if data[4:8] != b"ftyp":
        return None
    (length,) = struct.unpack_from(">I", data)
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, min(length, 256), 4))]
    if brands[0] in _RAW_BRANDS:
        return "RAW"
    if any(brand in _AVIF_BRANDS for brand in brands):
        return "AVIF"
    return "HEIF" if any(brand in _HEIF_BRANDS for brand in brands) else None


def boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, first byte of the content and end of each box in a stretch of bytes."""
    for _ in range(_MOST_BOXES):
        if start + 8 > end:
            return
        size, name = struct.unpack_from(">I4s", data, start)
        body = start + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, body)
            body += 8
        stop = end if size == 0 else start + size
        if stop < body:
            raise damaged()
        yield name, body, min(stop, end)
        start = stop


def read(data: bytes) -> Header:
    """Reads the properties of the primary image."""
    format = kind(data) or "HEIF"
    meta = next(((at, end) for name, at, end in boxes(data, 0, len(data)) if name == b"meta"), None)
    if meta is None:
        if b"moov" in (name for name, _, _ in boxes(data, 0, len(data))):
            raise unsupported(f"an {format} animation without a still image")
        raise truncated()
    start, end = meta
    return Header(format, *_Meta(data[start + 4 : min(end, start + _MOST_META)]).upright_size())


@dataclass
class _Meta:
    """The content of the box that describes images."""

    data: bytes

    def upright_size(self) -> tuple[int, int]:
        top = {name: (at, end) for name, at, end in boxes(self.data, 0, len(self.data))}
        if b"pitm" not in top or b"iprp" not in top:
            raise damaged()
        at, _ = top[b"pitm"]
        wide = self.data[at] > 0
        (primary,) = struct.unpack_from(">I" if wide else ">H", self.data, at + 4)
        properties: list[tuple[bytes, int, int]] = []
        links: list[int] = []
        for name, at, end in boxes(self.data, *top[b"iprp"]):
            if name == b"ipco":
                properties = list(boxes(self.data, at, end))
            elif name == b"ipma":
                links += self._links(at, end, primary)
        size = (0, 0)
        for link in links:
            if not 1 <= link <= len(properties):
                continue
            name, at, _ = properties[link - 1]
            if name == b"ispe":
                size = struct.unpack_from(">II", self.data, at + 4)
            elif name == b"clap" and all(size):
                size = self._cut(at, size)
            elif name == b"irot" and self.data[at] & 1:
                size = (size[1], size[0])
        if not all(size):
            raise damaged()
        return size

    def _links(self, at: int, end: int, item: int) -> list[int]:
        """Numbers of the properties of an item."""
        version, flags = self.data[at], self.data[at + 3]
        (count,) = struct.unpack_from(">I", self.data, at + 4)
        at += 8
        for _ in range(min(count, _MOST_BOXES * 4)):
            (id,) = struct.unpack_from(">I" if version else ">H", self.data, at)
            at += 4 if version else 2
            number = self.data[at]
            at += 1
            wide = flags & 1
            found = struct.unpack_from(f">{number}{'H' if wide else 'B'}", self.data, at)
            at += number * (2 if wide else 1)
            if id == item:
                return [link & (0x7FFF if wide else 0x7F) for link in found]
            if at >= end:
                break
        return []

    def _cut(self, at: int, size: tuple[int, int]) -> tuple[int, int]:
        numbers = struct.unpack_from(">IIII", self.data, at)
        if not numbers[1] or not numbers[3]:
            return size
        cut = (round(numbers[0] / numbers[1]), round(numbers[2] / numbers[3]))
        return cut if all(0 < part <= whole for part, whole in zip(cut, size, strict=True)) else size


def open_heif(data: bytes, header: Header) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=("HEIF",))


def open_avif(data: bytes, header: Header) -> Image.Image:
    return AvifImagePlugin.AvifImageFile(io.BytesIO(data))
