"""What a header says is what decoding gives, and reading it never decodes."""

import sys
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from ml import images
from ml.images import UnreadableImage
from tests.ml.images.test_decoding import WRITTEN, encoded, png_header, scene


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (513, 2), (300, 200), (8191, 3)])
@pytest.mark.parametrize("format", WRITTEN)
def test_every_size_is_found(format, size):
    if format == "HEIF" and size[1] == 3:
        pytest.skip("its encoder wants more rows")
    data = encoded(scene(*size), format)
    info = images.probe(data)
    assert (info.width, info.height) == images.decode(data).size == size


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF"])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_the_size_is_that_of_the_upright_image(format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(scene(80, 50), format, exif=exif)
    info = images.probe(data)
    assert (info.width, info.height) == images.decode(data).size


@pytest.mark.parametrize("format", WRITTEN)
def test_reading_a_header_calls_no_decoder(format, monkeypatch):
    data = encoded(scene(300, 200), format)
    monkeypatch.setattr(ImageFile.ImageFile, "__init__", lambda *_: pytest.fail("a decoder was opened"))
    assert images.probe(data).width == 300


def test_reading_the_header_of_a_huge_image_takes_no_memory():
    data = png_header(9000, 9000, gray=True, data=zlib.compress(bytes(9001 * 9000), 9))
    tracemalloc.start()
    try:
        assert images.probe(data).width == 9000
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"8BPS" + bytes(40), "a Photoshop document"),
        (b"%PDF-1.7", "a PDF document"),
        (b"\x00\x00\x00\x18ftypisom" + bytes(40), "a video"),
        (b"PK\x03\x04" + bytes(40), "a ZIP archive"),
        (b"P7\nWIDTH 2\n", "a PAM"),
        (b"\xff\x4f\xff\x51" + bytes(60), "is damaged"),
    ],
)
def test_the_reason_names_what_it_is(data, name):
    with pytest.raises(UnreadableImage, match=name) as caught:
        images.decode(data)
    formats = [part for part in images.FORMATS_SHOWN.split(", ") if part in caught.value.message]
    assert not formats, "a format that is read is no reason for not reading it"


def test_jpeg_xl_without_its_plugin_is_refused_by_name(monkeypatch):
    data = encoded(scene(), "JXL")
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    with pytest.raises(UnreadableImage, match="is a JPEG XL, which needs the extra `raw`") as caught:
        images.decode(data)
    assert "lookalike[raw]" in caught.value.hint


@pytest.mark.parametrize("kind", [b"P2", b"P3", b"P5", b"P6"])
@pytest.mark.parametrize("most", [1, 15, 255, 1023, 65535])
def test_values_of_a_ppm_are_scaled_to_its_largest(kind, most):
    rng = np.random.default_rng(0)
    shape = (9, 11) if kind in (b"P2", b"P5") else (9, 11, 3)
    values = rng.integers(0, most + 1, shape)
    header = b"%b # made by hand\n# and twice\n11 9\n%d\n" % (kind, most)
    body = (
        b" ".join(b"%d" % value for value in values.reshape(-1))
        if kind < b"P4"
        else (values.astype(">u2" if most > 255 else "u1").tobytes())
    )
    image = np.asarray(images.decode(header + body), np.float64)
    expected = values[..., None] if values.ndim == 2 else values
    assert np.abs(image - 255 * expected / most).max() <= 1


@pytest.mark.parametrize(("kind", "channels"), [(b"P5", 1), (b"P6", 3)])
def test_a_ppm_of_12_bits_in_16_is_as_bright_as_it_was_meant(kind, channels):
    values = np.random.default_rng(0).integers(0, 4096, (9, 11, channels))
    data = b"%b 11 9 65535\n" % kind + values.astype(">u2").tobytes()
    assert np.abs(np.asarray(images.decode(data), np.float64) - 255 * values / 4095).max() <= 1


def test_a_ppm_with_30_mb_of_comment_is_read_at_once():
    data = b"P5\n#" + b"x" * 30_000_000 + b"\n4 4\n255\n" + bytes(16)
    assert images.probe(data).width == 4
    assert images.decode(data).size == (4, 4)
    data = b"P5\n" + b"#\n" * 15_000_000 + b"4 4\n255\n" + bytes(16)
    assert images.probe(data).width == 4


def test_floats_of_a_pfm_are_read_from_the_bottom():
    values = np.linspace(0, 1, 12, dtype="<f4").reshape(3, 4)
    image = np.asarray(images.decode(b"Pf\n4 3\n-1.0\n" + values[::-1].tobytes()))
    assert np.abs(image[..., 0] - 255 * values).max() <= 1


def test_an_empty_stream_of_a_format_is_truncated():
    for format in WRITTEN:
        data = encoded(scene(), format)
        with pytest.raises(UnreadableImage, match=r"is (truncated|damaged)"):
            images.decode(data[: min(20, len(data) // 2)])


def test_limits_come_from_the_environment_where_nobody_passes_them(monkeypatch):
    data = encoded(scene(1200, 1000), "PNG")
    assert images.probe(data).width == 1200
    monkeypatch.setenv("LOOKALIKE_MAX_MEGAPIXELS", "1")
    for step in (images.probe, images.decode):
        with pytest.raises(UnreadableImage, match=r"the limit is 1 megapixels \(LOOKALIKE_MAX_MEGAPIXELS\)"):
            step(data)
