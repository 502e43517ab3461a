"""What an image is promised is enough for it: no healthy image of any format is refused for its memory."""

import numpy as np
import pytest
from PIL import Image

from ml.decoders import Decoders
from ml.decoders.memory import needed
from tests.ml.decoders.images import encoded, work

SIDES = (3000, 2250)
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (*SIDES[::-1], 3), dtype=np.uint8))
FORMATS = {
    "JPEG": {"quality": 90},
    "progressive": {"format": "JPEG", "quality": 90, "progressive": True},
    "CMYK": {"format": "JPEG", "mode": "CMYK"},
    "PNG": {"compress_level": 1},
    "RGBA": {"format": "PNG", "mode": "RGBA", "compress_level": 1},
    "palette": {"format": "PNG", "mode": "P", "compress_level": 1},
    "grey16": {"format": "PNG", "mode": "I;16", "compress_level": 1},
    "TIFF": {"compression": "tiff_lzw"},
    "BMP": {},
    "GIF": {},
    "PPM": {},
    "WEBP": {"lossless": True, "quality": 0, "method": 0},
    "JPEG2000": {"quality_layers": [20]},
    "AVIF": {"speed": 10},
}


def image_of(name: str) -> bytes:
    options = dict(FORMATS[name])
    format, mode = str(options.pop("format", name)), str(options.pop("mode", "RGB"))
    image = NOISE.convert("L").convert(mode) if mode == "I;16" else NOISE.convert(mode)
    return encoded(image, format, **options)


@pytest.fixture(scope="module")
def decoders():
    made = Decoders()
    yield made
    made.close()


@pytest.mark.parametrize("name", FORMATS)
def test_an_image_is_promised_what_it_takes(decoders: Decoders, name: str) -> None:
    data = image_of(name)
    assert needed(data, work(60)) < 1.5 * 2**30
    assert decoders.decode(data, work(60)).pixels.shape == (224, 224, 3)
