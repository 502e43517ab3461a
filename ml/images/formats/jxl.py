"""JPEG XL: size and turning from its first bits. Decoded by a plugin of Pillow's, where that is installed."""

import io

from PIL import Image

from ml.images.accepted import UnreadableImage, damaged
from ml.images.formats.isobmff import boxes
from ml.images.header import Header

SIGNATURES = (b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n")
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


class _Bits:
    """Numbers from bits, the lowest of a byte first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "little"), 8 * len(data)

    def take(self, count: int) -> int:
        if count > self._left:
            raise IndexError("out of bits")
        value = self._value & ((1 << count) - 1)
        self._value >>= count
        self._left -= count
        return value

    def length(self) -> int:
        """A side, in pixels."""
        return 1 + self.take((9, 13, 18, 30)[self.take(2)])


def read(data: bytes) -> Header:
    """Reads the size and the orientation, which the decoder applies."""
    stream = 0
    if not data.startswith(SIGNATURES[0]):
        before = {b"jxlc": 0, b"jxlp": 4}  # a part's number
        starts = [at + before[name] for name, at, _ in boxes(data, 0, len(data)) if name in before]
        if not starts:
            raise damaged()
        stream = starts[0]
    bits = _Bits(data[stream + 2 : stream + 34])
    is_small = bits.take(1)
    height = 8 * (1 + bits.take(5)) if is_small else bits.length()
    if ratio := bits.take(3):
        numerator, denominator = _RATIOS[ratio - 1]
        width = height * numerator // denominator
    else:
        width = 8 * (1 + bits.take(5)) if is_small else bits.length()
    is_plain = bits.take(1)
    orientation = 1 + bits.take(3) if not is_plain and bits.take(1) else 1
    return Header("JXL", *((height, width) if orientation >= 5 else (width, height)))


def open(data: bytes, header: Header) -> Image.Image:
    """Pillow's image.

    Raises:
        UnreadableImage: the plugin is not installed.
    """
    try:
        import pillow_jxl  # noqa: F401 - tells Pillow of the format
    except ImportError as error:
        raise UnreadableImage(
            "is a JPEG XL, which needs the extra `raw`", hint='pip install "lookalike[raw]"'
        ) from error
    return Image.open(io.BytesIO(data), formats=("JXL",))
