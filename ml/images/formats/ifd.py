"""Directories of tags, as TIFF has them; EXIF and most cameras' raw files are made of the same.

Reads numbers where they are asked for and nothing else, so that a directory whose thousand tags each claim the whole
file costs nothing.
"""

import contextlib
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

_SIZES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_MOST_TAGS = 4096
_MOST_DIRECTORIES = 64

ORIENTATION = 274
_EXIF = 34665  # leads to the directory of the exposure
_TAKEN = (36867, 36868)  # DateTimeOriginal, DateTimeDigitized


@dataclass(frozen=True)
class Tag:
    """One entry: its type, how many values, and where they stand."""

    type: int
    count: int
    offset: int


class Directories:
    """The directories of a TIFF, or of EXIF data.

    Raises struct.error when the data ends before what it promises, and ValueError when it is no TIFF.
    """

    def __init__(self, data: bytes) -> None:
        order = {b"II": "<", b"MM": ">"}.get(data[:2])
        if order is None:
            raise ValueError("no byte order")
        self._data, self.order = data, order
        self.is_big = struct.unpack_from(f"{order}H", data, 2)[0] == 43  # offsets of 64 bits
        self._offset = struct.unpack_from(f"{order}{'Q' if self.is_big else 'I'}", data, 8 if self.is_big else 4)[0]

    def chain(self) -> Iterator[tuple[int, "Directory"]]:
        """Offset and content of each directory that is linked from the first on; the first few dozen."""
        offset, seen = self._offset, set[int]()
        while offset and offset not in seen and len(seen) < _MOST_DIRECTORIES:
            seen.add(offset)
            directory, following = self._read(offset)
            yield offset, directory
            offset = following

    def below(self, directory: "Directory", tag: int = 330) -> Iterator[tuple[int, "Directory"]]:
        """Offset and content of the directories that a tag of this one points to."""
        for offset in directory.numbers(tag)[:_MOST_DIRECTORIES]:
            yield offset, self._read(offset)[0]

    def first(self) -> "Directory":
        """The first directory; empty if there is none."""
        return next((directory for _, directory in self.chain()), Directory(self._data, self.order, {}))

    def _read(self, offset: int) -> tuple["Directory", int]:
        order, is_big = self.order, self.is_big
        (count,) = struct.unpack_from(f"{order}{'Q' if is_big else 'H'}", self._data, offset)
        offset += 8 if is_big else 2
        size, inline = (20, 8) if is_big else (12, 4)
        tags: dict[int, Tag] = {}
        for place in range(offset, offset + size * min(count, _MOST_TAGS), size):
            code, type, values = struct.unpack_from(f"{order}HH{'Q' if is_big else 'I'}", self._data, place)
            at = place + size - inline
            if values * _BYTES.get(type, 1) > inline:
                (at,) = struct.unpack_from(f"{order}{'Q' if is_big else 'I'}", self._data, at)
            tags.setdefault(code, Tag(type, values, at))
        end = offset + size * count
        following = 0
        if end + inline <= len(self._data):
            (following,) = struct.unpack_from(f"{order}{'Q' if is_big else 'I'}", self._data, end)
        return Directory(self._data, order, tags), following


class Directory:
    """The tags of one image."""

    def __init__(self, data: bytes, order: str, tags: Mapping[int, Tag]) -> None:
        self._data, self._order, self._tags = data, order, tags

    def __contains__(self, tag: int) -> bool:
        return tag in self._tags

    def numbers(self, code: int, most: int = 64) -> tuple[int, ...]:
        """The whole numbers of a tag, the first few dozen; none if it is missing or holds something else."""
        tag = self._tags.get(code)
        if tag is None or tag.type not in _SIZES:
            return ()
        return struct.unpack_from(f"{self._order}{min(tag.count, most)}{_SIZES[tag.type]}", self._data, tag.offset)

    def number(self, code: int, default: int) -> int:
        """The first number of a tag."""
        return next(iter(self.numbers(code, 1)), default)

    def content(self, code: int, most: int) -> bytes:
        """The bytes of a tag; none if it is missing or has more of them than `most`."""
        tag = self._tags.get(code)
        size = 0 if tag is None else tag.count * _BYTES.get(tag.type, 1)
        return b"" if tag is None or size > most else self._data[tag.offset : tag.offset + size]

    def count(self, code: int) -> int:
        """How many values a tag says that it has."""
        tag = self._tags.get(code)
        return 0 if tag is None else tag.count


def orientation(exif: bytes) -> int:
    """EXIF orientation, 1 (upright) to 8. Damaged EXIF is as good as none.

    Args:
        exif: from the byte order on, or with the six bytes before it that JPEG has.
    """
    try:
        value = Directories(exif.removeprefix(b"Exif\x00\x00")).first().number(ORIENTATION, 1)
    except (struct.error, ValueError):
        return 1
    return value if 1 <= value <= 8 else 1


def taken_at(exif: bytes) -> float | None:
    """When a photo was taken, in seconds since 1970 by the camera's clock, as if that showed UTC; None if nothing says.

    Args:
        exif: from the byte order on, or with the six bytes before it that JPEG has.
    """
    with contextlib.suppress(struct.error, ValueError, OverflowError):
        directories = Directories(exif.removeprefix(b"Exif\x00\x00"))
        for _, exposure in directories.below(directories.first(), _EXIF):
            for tag in _TAKEN:
                if text := exposure.content(tag, 32).rstrip(b"\x00 ").decode("ascii", "replace"):
                    return datetime.strptime(text[:19], "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
    return None
