"""Photos to measure with: real groceries where they are at hand, drawn ones otherwise, at any size."""

import functools
import io
import itertools
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.suite.record import ROOT
from deploy import demo_photos

GROCERY = ROOT.parent / "shared" / "data" / "grocery" / "test"
TWELVE_MEGAPIXELS = (4000, 3000)
_numbers = itertools.count()


def photos(count: int, size: tuple[int, int] = (348, 348)) -> list[bytes]:
    """That many JPEGs of a size, each with other bytes than any before it.

    Scaled from a real photo, with noise as a camera's, so that their entropy is what a photo's is.
    """
    some = [_jpeg(index, size) for index in range(min(count, 4 if size[0] > 2000 else 64))]
    return [_marked(some[index % len(some)], next(_numbers)) for index in range(count)]


def folder_of(images: list[bytes], folder: Path) -> Path:
    """Writes them down, a hundred per folder."""
    for number, data in enumerate(images):
        path = folder / f"class {number // 100}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


@functools.cache
def _jpeg(index: int, size: tuple[int, int]) -> bytes:
    sources = _sources()
    with Image.open(io.BytesIO(sources[index * 7 % len(sources)])) as image:
        pixels = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC), np.int16)
    noise = np.random.default_rng(index).integers(-5, 6, pixels.shape, np.int16)
    buffer = io.BytesIO()
    Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


@functools.cache
def _sources() -> list[bytes]:
    if GROCERY.is_dir():
        return [path.read_bytes() for path in sorted(GROCERY.rglob("*.jpg"))]
    with tempfile.TemporaryDirectory() as drawn:
        demo_photos.make(Path(drawn), products=16, views=8)
        return [path.read_bytes() for path in sorted(Path(drawn).rglob("*.jpg"))]


def _marked(jpeg: bytes, number: int) -> bytes:
    """The same image in other bytes: with a comment in its head."""
    text = f"{number}".encode()
    return jpeg[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + jpeg[2:]
