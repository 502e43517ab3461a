"""TIFF: which of its many layouts are read rightly, and which directory holds the image.

Pillow opens layouts that it decodes to noise. Here stands what is known to come out right: the layouts of Pillow's own
table, less those that tests/ml/images/test_tiff_layouts.py, which compares with another decoder, found wrong.
"""

import io
import struct
from dataclasses import dataclass

from PIL import Image, TiffImagePlugin

from ml.images import deep_colour
from ml.images.accepted import UnreadableImage, damaged, unsupported
from ml.images.formats import ifd, raw
from ml.images.header import Header

_NO_COMPRESSION, _OLD_JPEG, _JPEG = 1, 6, 7
_COMPRESSIONS = {
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    32773,
    32946,
    34925,
    50000,
}  # none, CCITT, LZW, JPEG, Deflate, PackBits, LZMA, Zstd
_NAMES = {6: "old-style JPEG", 34661: "JBIG", 34676: "SGI Log", 34677: "SGI Log", 34887: "LERC", 34892: "lossy JPEG"}
_NAMES |= {
    34712: "JPEG 2000",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
_COLOURS = {0: "gray", 1: "gray", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "CIELAB", 9: "ICCLAB"}
_COLOURS |= {10: "ITULAB", 32844: "LogL", 32845: "LogLuv"}
UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_PLANAR = 2
_REDUCED = 1  # bit of NewSubfileType: a smaller copy of another image of the file
_EXTRA = ((), (2,))  # what may stand beside the colours in planes of their own that are not compressed
_ICC = 34675
_ICC_MOST = 4 * 2**20


@dataclass(frozen=True)
class TiffHeader(Header):
    """What decoding has to know of a TIFF besides.

    Args:
        offset: of the directory that describes the image.
        sample: format of a sample: 1 unsigned, 2 signed, 3 float.
        bits: of a sample.
        is_inverted: gray of more than 8 bits where 0 is white. Pillow turns the other ones itself.
        is_planar: each colour in a plane of its own.
        profile: the ICC profile.
    """

    offset: int = 0
    sample: int = UNSIGNED
    bits: int = 8
    is_inverted: bool = False
    is_planar: bool = False
    profile: bytes = b""

    @property
    def white(self) -> int | None:
        """The value that is white, where the number of bits says it."""
        return 4095 if self.bits == 12 else None

    @property
    def depths(self) -> tuple[int, ...]:
        """Bits that values in 16 bits may really have: cameras and scanners store 10, 12 and 14 as they come."""
        if self.bits != 16:
            return ()
        return (8, 10, 12, 14, 16) if self.sample == UNSIGNED else (15,)


def read(data: bytes) -> Header:
    """Reads the directory of the image, which is not always the first: previews and thumbnails may come before it."""
    try:
        directories = ifd.Directories(data)
        if raw.is_raw(directories):
            return raw.read_directories(data, directories)
        found = list(directories.chain())
        full = [(offset, each) for offset, each in found if not each.number(254, 0) & _REDUCED]
        if not full:
            for _, each in found:
                full += [(at, sub) for at, sub in directories.below(each) if not sub.number(254, 0) & _REDUCED]
        offset, directory = next(iter(full or found))
    except (struct.error, StopIteration) as error:
        raise UnreadableImage("is truncated") from error
    if directories.is_big and directories.order == ">":  # Pillow takes it for the smaller kind
        raise unsupported("a BigTIFF with the high byte first")
    return _header(directory, offset, directories)


def open(data: bytes, header: TiffHeader) -> TiffImagePlugin.TiffImageFile:
    """Pillow's image of the right directory."""
    first = struct.pack(f"{'<' if data[:2] == b'II' else '>'}{'Q' if _is_big(data) else 'I'}", header.offset)
    place = 8 if _is_big(data) else 4
    # Pillow begins where the file says, so it is told to begin at the image.
    return TiffImagePlugin.TiffImageFile(io.BytesIO(data[:place] + first + data[place + len(first) :]))


def load(image: Image.Image, data: bytes, header: TiffHeader) -> Image.Image:
    """The decoded image, bright where only some of 16 bits are in use."""
    if not header.is_planar:
        return deep_colour.load(image, lambda: open(data, header), header.depths)
    image.load()
    if deep_colour.is_dark(image, header.depths):  # Pillow would give the upper 8 bits again
        raise unsupported("a TIFF in separate planes of 16 bits that are not all in use")
    return image


def _is_big(data: bytes) -> bool:
    return 43 in data[2:4]


def _header(tags: ifd.Directory, offset: int, directories: ifd.Directories) -> TiffHeader:
    width, height = tags.number(256, 0), tags.number(257, 0)
    samples = tags.number(277, 1)
    colours, compression = tags.number(262, -1), tags.number(259, _NO_COMPRESSION)
    if colours < 0 or samples < 1:
        raise damaged()
    bits = tags.numbers(258) or (1,)
    bits = bits * samples if len(bits) == 1 else bits
    formats = tags.numbers(339) or (UNSIGNED,)
    sample = 1 if formats[0] == 4 else formats[0]  # "undefined" is unsigned
    planar = tags.number(284, 1) == _PLANAR and samples > 1
    extra = tags.numbers(338)
    fill = tags.number(266, 1)

    if compression not in _COMPRESSIONS:
        raise unsupported(f"a TIFF compressed with {_NAMES.get(compression, f'method {compression}')}")
    name = _COLOURS.get(colours, f"photometric interpretation {colours}")
    if colours in (8, 9, 10) or name not in _COLOURS.values() or colours == 4:
        raise unsupported(f"a TIFF in {name} colours")
    if len(set(bits)) != 1 or len(set(formats)) != 1:
        raise unsupported("a TIFF whose channels differ in depth")
    layout = f"{name} of {samples} x {bits[0]} bits{_kind(sample)}{', in separate planes' if planar else ''}"
    order = b"MM" if directories.order == ">" else b"II"
    through_libtiff = compression != _NO_COMPRESSION or planar
    if colours == 6 and compression == _JPEG:  # libtiff turns it into RGB
        pass
    elif colours == 5 and tags.number(332, 1) != 1:
        raise unsupported("a TIFF in inks other than CMYK")
    elif (order, colours, (sample,), fill, bits, extra) not in TiffImagePlugin.OPEN_INFO:
        raise unsupported(f"a TIFF with {layout}")
    if planar and (colours not in (2, 5) or (compression == _NO_COMPRESSION and (bits[0] > 8 or extra not in _EXTRA))):
        raise unsupported(f"a TIFF with {layout}")
    if compression == _JPEG and bits[0] != 8:
        raise unsupported(f"a TIFF with {layout}, compressed as JPEG")
    if colours == 6 and compression != _JPEG and tags.numbers(530)[:2] not in ((1, 1),):
        raise unsupported("a TIFF in YCbCr with reduced colours")
    is_swapped = order == b"MM" and through_libtiff
    if is_swapped and (sample != UNSIGNED or bits[0] > 16):
        raise unsupported(f"a TIFF with {layout}, compressed, with the high byte first")
    if sample == _SIGNED and bits[0] == 8:
        raise unsupported(f"a TIFF with {layout}")
    orientation = tags.number(ifd.ORIENTATION, 1)
    turned = (height, width) if 5 <= orientation <= 8 else (width, height)
    return TiffHeader(
        "TIFF",
        *turned,
        offset=offset,
        sample=sample,
        bits=bits[0],
        is_inverted=colours == 0 and bits[0] > 8,
        is_planar=planar,
        profile=tags.content(_ICC, _ICC_MOST),
    )


def _kind(sample: int) -> str:
    return {UNSIGNED: "", _SIGNED: ", signed", _FLOAT: ", floating point"}.get(sample, ", complex")
