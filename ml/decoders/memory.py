"""How much memory an image may need, as its header says, and how what there is is shared out.

An estimate is a promise: a child gets so much and no more. So it lies above what decoders were measured to take
(tests/ml/decoders/test_memory.py), and an image that lies about itself is refused.
"""

import contextlib
import threading
from collections.abc import Iterator

from ml.decoders.work import Work
from ml.images import reading
from ml.images.formats.jpeg import JpegHeader
from ml.images.formats.jpeg2000 import Jpeg2000Header
from ml.images.header import Header

_LEAST_BYTES = 48 * 2**20
# Bytes that a pixel takes while it is decoded, all copies together.
_PER_PIXEL = {"PNG": 8, "TIFF": 12, "BMP": 12, "DIB": 12, "GIF": 12, "QOI": 14, "PPM": 14, "JPEG2000": 24}
_PER_PIXEL |= {"WEBP": 18, "HEIF": 16, "AVIF": 18, "JXL": 40, "RAW": 14}
_PER_DECODED_PIXEL_OF_JPEG = 10
_PER_COEFFICIENT = 2


def needed(data: bytes, work: Work) -> int:
    """Bytes that decoding may take, beside the file itself.

    Raises:
        UnreadableImage: the header says that it is refused anyway.
    """
    work.limits.check_bytes(len(data))
    header = reading.read(data)
    return _LEAST_BYTES + _of_pixels(data, header, work.min_side) + 3 * len(data)


def _of_pixels(data: bytes, header: Header, min_side: int) -> int:
    pixels = header.width * header.height
    if isinstance(header, JpegHeader):
        return _of_jpeg(header, min_side, is_ended=data.endswith(b"\xff\xd9"))
    if isinstance(header, Jpeg2000Header):
        halvings = min(header.levels, (min(header.width, header.height) // min_side).bit_length() - 1)
        pixels >>= 2 * max(0, halvings)
    return pixels * _PER_PIXEL[header.format]


def _of_jpeg(header: JpegHeader, min_side: int, *, is_ended: bool) -> int:
    pixels = header.width * header.height
    scale = next((scale for scale in (8, 4, 2) if min(header.width, header.height) // scale >= min_side), 1)
    decoded = pixels // scale**2
    coefficients = pixels * header.components * _PER_COEFFICIENT if header.is_progressive else 0
    if not is_ended:  # it may have to be decoded twice at full size, to see what is missing
        coefficients += 2 * pixels * _PER_DECODED_PIXEL_OF_JPEG
    return decoded * _PER_DECODED_PIXEL_OF_JPEG + coefficients


class Budget:
    """Memory for all images that are decoded at the same time.

    Args:
        total: bytes.
        reserve: what large images leave to small ones, so that these never wait for a large one.
    """

    def __init__(self, total: int, reserve: int) -> None:
        self.total, self.reserve = total, reserve
        self._taken = 0
        self._changed = threading.Condition()

    @property
    def most(self) -> int:
        """What one image may take."""
        return self.total - self.reserve

    @contextlib.contextmanager
    def taken(self, wanted: int, *, may_use_reserve: bool = False) -> Iterator[int]:
        """Waits until there is so much left, and takes it for the time of the block; yields how much that is.

        More than `most` is never given: an image that needs more is refused by the lack of it.
        """
        amount = min(wanted, self.most)
        limit = self.total if may_use_reserve else self.most
        with self._changed:
            self._changed.wait_for(lambda: self._taken + amount <= limit)
            self._taken += amount
        try:
            yield amount
        finally:
            with self._changed:
                self._taken -= amount
                self._changed.notify_all()
