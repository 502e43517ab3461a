"""JPEG: what may be missing or superfluous, and what no decoder should be asked to do."""

import io
import struct
import time

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from ml import images
from ml.images import UnreadableImage

EOI = b"\xff\xd9"


def photo(width: int = 640, height: int = 480) -> Image.Image:
    """Coloured noise with large shapes: every block holds bits."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8)
    large = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC), np.int16)
    return Image.fromarray((large + rng.integers(-8, 8, large.shape)).clip(0, 255).astype(np.uint8))


def jpeg(progressive: bool = False, **options: object) -> bytes:
    buffer = io.BytesIO()
    photo().save(buffer, "JPEG", quality=90, progressive=progressive, **options)
    return buffer.getvalue()


def slow_jpeg(width: int = 4000, height: int = 4000, scans: int = 5000) -> bytes:
    """A progressive JPEG of a few kilobytes whose one scan repeats: each time a decoder goes over all of the image."""
    buffer = io.BytesIO()
    Image.new("L", (width, height), 128).save(buffer, "JPEG", progressive=True, quality=50)
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xda")
    scan = data[last : data.rindex(EOI)]
    return data[:last] + scan * scans + EOI


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("cut", [1, 2])
def test_a_missing_end_marker_does_not_cost_the_image(progressive, cut):
    data = jpeg(progressive)
    np.testing.assert_array_equal(np.asarray(images.decode(data[:-cut])), np.asarray(images.decode(data)))


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("tail", [b"\x00", b"\x00" * 5000, b"trailing text", b"\xff", b"\xff\xd8\xff\xe0rest", EOI])
def test_bytes_behind_the_end_do_not_cost_the_image(progressive, tail):
    data = jpeg(progressive)
    np.testing.assert_array_equal(np.asarray(images.decode(data + tail)), np.asarray(images.decode(data)))


def test_a_second_image_behind_the_first_is_not_looked_at():
    other = io.BytesIO()
    Image.new("RGB", (640, 480), "white").save(other, "JPEG")
    first = jpeg()
    np.testing.assert_array_equal(np.asarray(images.decode(first + other.getvalue())), np.asarray(images.decode(first)))
    np.testing.assert_array_equal(
        np.asarray(images.decode(first[:-2] + other.getvalue()[:-2])).shape, np.asarray(images.decode(first)).shape
    )


def test_the_last_few_blocks_may_be_missing():
    image = images.decode(jpeg()[:-20])
    assert np.abs(np.asarray(image, int) - np.asarray(images.decode(jpeg()))).mean() < 2


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.8, 0.9])
@pytest.mark.parametrize("restart", [0, 4])
@pytest.mark.parametrize("min_side", [None, 64])
def test_a_missing_tail_does(progressive, share, restart, min_side):
    data = jpeg(progressive, **({"restart_marker_rows": restart} if restart else {}))
    with pytest.raises(UnreadableImage, match="is truncated"):
        images.decode(data[: int(len(data) * share)], min_side=min_side)


def test_scans_that_never_came_are_missed():
    """Cut between two scans: nothing is left half done, and yet most of the image is not there."""
    data = jpeg(progressive=True)
    second = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    with pytest.raises(UnreadableImage, match="is truncated"):
        images.decode(data[:second])


def test_thousands_of_scans_are_refused_before_they_are_decoded(monkeypatch):
    data = slow_jpeg()
    assert len(data) < 500_000
    images.probe(data)
    monkeypatch.setattr(JpegImagePlugin, "JpegImageFile", None)
    with pytest.raises(UnreadableImage, match="in more than 100 scans"):
        images.decode(data, min_side=320)


def test_the_larger_an_image_the_fewer_scans_it_may_have(monkeypatch):
    data = slow_jpeg(10_000, 10_000, 40)
    monkeypatch.setattr(JpegImagePlugin, "JpegImageFile", None)
    with pytest.raises(UnreadableImage, match="of 10000 x 10000 pixels in more than 30 scans"):
        images.decode(data, min_side=320)


def test_a_header_without_end_is_refused_at_once():
    for data in (
        b"\xff\xd8\xff" + b"\xff" * 30_000_000,
        b"\xff\xd8\xff\xe0" + bytes(30_000_000),
        b"\xff\xd8" + b"\xff\xe5\x00\x02" * 7_000_000,
    ):
        began = time.process_time()
        with pytest.raises(UnreadableImage):
            images.probe(data)
        assert time.process_time() - began < 5  # a third of a second here; what is not linear takes minutes


@pytest.mark.parametrize(
    ("bits", "channels", "frame", "name"),
    [
        (12, 3, 0xC1, "a JPEG with 12 bits per sample"),
        (8, 2, 0xC0, "a JPEG of 2 channels"),
        (8, 3, 0xC3, "a lossless JPEG"),
        (8, 3, 0xC5, "a hierarchical JPEG"),
        (8, 3, 0xF7, "a JPEG-LS JPEG"),
    ],
)
def test_other_kinds_are_refused_by_name(bits, channels, frame, name):
    body = struct.pack(">BHHB", bits, 64, 64, channels) + bytes(3 * channels)
    data = b"\xff\xd8\xff" + bytes([frame]) + struct.pack(">H", len(body) + 2) + body + b"\xff\xda" + bytes(90) + EOI
    with pytest.raises(UnreadableImage, match=f"is {name}, which is not supported"):
        images.probe(data)


def test_a_jpeg_of_more_than_the_limit_is_decoded_at_a_fraction():
    buffer = io.BytesIO()
    Image.new("L", (14_000, 14_000), 90).save(buffer, "JPEG")  # 196 megapixels, as phones write them
    assert images.probe(buffer.getvalue()).width == 14_000
    assert images.decode(buffer.getvalue(), min_side=320).size == (350, 350)
    with pytest.raises(UnreadableImage, match=r"is 196 megapixels .*LOOKALIKE_MAX_MEGAPIXELS"):
        images.decode(buffer.getvalue())
