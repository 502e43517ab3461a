"""When a photo was taken, by its EXIF data."""

import io

import pytest
from PIL import Image

from ml.images import probe


def photo(format: str, taken: str | None) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 1
    if taken is not None:
        exif.get_ifd(0x8769)[0x9003] = taken
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, format, exif=exif)
    return out.getvalue()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "taken, seconds",
    [
        ("2026:11:24 08:16:05", 1_795_508_165.0),
        ("1969:12:31 23:59:59", -1.0),
        ("0000:00:00 00:00:00", None),
        ("", None),
    ],
)
def test_it_is_what_the_cameras_clock_showed(format: str, taken: str, seconds: float | None) -> None:
    assert probe(photo(format, taken)).taken_at == seconds


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP"])
def test_it_is_unknown_when_nothing_says(format: str) -> None:
    assert probe(photo(format, None)).taken_at is None
