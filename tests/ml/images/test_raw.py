"""Raw files of cameras: developed or shown by their large preview, never by their thumbnail."""

import io
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from ml import images
from ml.images import UnreadableImage


def scene(width: int, height: int) -> np.ndarray:
    """uint8 [height, width], brighter to the lower right."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return np.round(255 * (0.1 + 0.8 * x * y)).astype(np.uint8)


def dng(
    width: int, height: int, thumbnail: tuple[int, int] = (32, 24), *, preview: bytes = b"", orientation=1
) -> bytes:
    """A sensor's mosaic behind a thumbnail that is black where the photo is white."""
    sensor = (scene(width, height).astype(np.float64) / 255) ** 2.2 * 65535
    mosaic = [(33421, 3, 2, (2, 2), True), (33422, 1, 4, b"\x00\x01\x01\x02", True)]
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as file:
        small = np.repeat(255 - scene(*thumbnail)[..., None], 3, 2)
        tags = [(50706, 1, 4, b"\x01\x04\x00\x00", True)]
        file.write(small, photometric="rgb", subfiletype=1, subifds=1, extratags=tags, metadata=None)
        file.write(sensor.astype(np.uint16), photometric=32803, subfiletype=0, extratags=mosaic, metadata=None)
    return stream.getvalue()


def likeness(image: Image.Image, width: int, height: int) -> float:
    """Correlation of brightness with the scene's."""
    shown = np.asarray(image.convert("L").resize((60, 40)), float)
    wanted = np.asarray(Image.fromarray(scene(width, height)).resize((60, 40)), float)
    return float(np.corrcoef(shown.reshape(-1), wanted.reshape(-1))[0, 1])


def test_it_is_developed_and_not_replaced_by_its_thumbnail():
    pytest.importorskip("rawpy")
    data = dng(400, 300)
    info = images.probe(data)
    assert (info.format, info.width, info.height) == ("RAW", 400, 300)
    image = images.decode(data)
    assert image.size == (400, 300)
    assert likeness(image, 400, 300) > 0.97


def test_a_large_one_is_developed_at_half_its_size():
    pytest.importorskip("rawpy")
    image = images.decode(dng(1600, 1200), min_side=320)
    assert 320 <= min(image.size) < 640
    assert likeness(image, 1600, 1200) > 0.97


def test_a_large_preview_will_do():
    pytest.importorskip("rawpy")
    data = dng(1000, 800, thumbnail=(700, 560))
    assert likeness(images.decode(data, min_side=320), 1000, 800) < -0.9  # in this file the preview is the negative
    assert likeness(images.decode(data, min_side=600), 1000, 800) > 0.9


def test_without_the_extra_it_is_refused_by_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "rawpy", None)
    data = dng(400, 300)
    images.probe(data)
    with pytest.raises(UnreadableImage, match=r"is a camera raw file \(DNG\), which needs the extra `raw`") as caught:
        images.decode(data)
    assert "lookalike[raw]" in caught.value.hint


def test_a_damaged_one_is_refused():
    pytest.importorskip("rawpy")
    data = dng(400, 300)
    with pytest.raises(UnreadableImage):
        images.decode(data[: len(data) // 2])
    for signature in (b"FUJIFILMCCD-RAW", b"IIRO", b"IIU\x00", b"\x00\x00\x00\x18ftypcrx \x00\x00\x00\x01crx isom"):
        with pytest.raises(UnreadableImage):
            images.decode(signature + bytes(300))
