"""Images that cost far more than their bytes, and the work that the tests give."""

import io

import numpy as np
from PIL import Image

from ml.decoders import Work
from ml.images import Limits
from ml.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(224, 256, "crop", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), mirror=False)


def work(seconds: float = 10.0, **limits: int) -> Work:
    return Work(PREPROCESSING, 320, Limits(max_decode_s=seconds, **limits))


def encoded(image: Image.Image, format: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def photo(seed: int = 0, width: int = 640, height: int = 480) -> bytes:
    """A JPEG of coloured clouds."""
    small = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return encoded(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def slow(megapixels: int = 4) -> bytes:
    """A QOI, whose decoder is written in Python: some 0.7 s a megapixel on a core of 2022."""
    side = round((megapixels * 1e6) ** 0.5)
    pixels = bytes([0b01101010]) * (side * side)  # each is the one before
    return b"qoif" + side.to_bytes(4, "big") * 2 + b"\x03\x00" + pixels + bytes(7) + b"\x01"


def slow_jpeg(scans: int = 95, side: int = 4400) -> bytes:
    """A progressive JPEG with as many scans as are allowed: some 50 ms a megapixel on a core of 2022."""
    data = encoded(Image.new("L", (side, side), 128), progressive=True, quality=50)
    last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:last] + data[last:end] * scans + data[end:]
