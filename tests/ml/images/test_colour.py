"""Colour profiles: followed where they say something, ignored where they are broken, free where they are sRGB."""

import io
import time

import numpy as np
import pytest
from PIL import Image, ImageCms

from ml import images
from ml.images import colour
from tests.ml.images.profiles import ADOBE_RGB, PROPHOTO, SRGB, profile

PROFILES = {"AdobeRGB": profile(ADOBE_RGB, 2.2), "ProPhoto": profile(PROPHOTO, 1.8)}


def scene() -> Image.Image:
    y, x = np.mgrid[0:1:60j, 0:1:90j]
    return Image.fromarray(np.round(40 + 150 * np.dstack([x, y, (1 - x) * y])).astype(np.uint8))


def converted(image: Image.Image, icc: bytes) -> Image.Image:
    """The same colours as numbers of another space."""
    target = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    return ImageCms.profileToProfile(image, ImageCms.createProfile("sRGB"), target)


def encoded(image: Image.Image, format: str, icc: bytes) -> bytes:
    options = {"quality": 98} if format in ("JPEG", "WEBP", "AVIF", "HEIF") else {}
    options |= {"subsampling": 0} if format == "JPEG" else {}
    buffer = io.BytesIO()
    image.save(buffer, format, icc_profile=icc, **options)
    return buffer.getvalue()


def difference(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one, np.float32) - np.asarray(other, np.float32)).mean())


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF", "HEIF"])
def test_a_copy_in_another_colour_space_shows_the_same_colours(format, name):
    stored = converted(scene(), PROFILES[name])
    assert difference(stored, scene()) > 5
    assert difference(images.decode(encoded(stored, format, PROFILES[name])), scene()) < 3


@pytest.mark.parametrize("min_side", [None, 320])
def test_a_reduced_image_is_converted_too(min_side):
    stored = converted(scene().resize((1800, 1200)), PROFILES["ProPhoto"])
    image = images.decode(encoded(stored, "PNG", PROFILES["ProPhoto"]), min_side=min_side)
    assert difference(image, scene().resize(image.size)) < 4


def test_transparent_parts_stay_white():
    stored = converted(scene(), PROFILES["ProPhoto"]).convert("RGBA")
    stored.putalpha(Image.linear_gradient("L").resize(stored.size))
    image = images.decode(encoded(stored, "PNG", PROFILES["ProPhoto"]))
    white = Image.new("RGB", stored.size, "white")
    white.paste(scene(), mask=stored.getchannel("A"))
    assert difference(image, white) < 3


def test_gray_has_profiles_too():
    levels = Image.linear_gradient("L")
    linear = profile((), 1.0, space=b"GRAY")
    values = np.asarray(images.decode(encoded(levels, "PNG", linear)), int)[:, 0, 0]
    expected = 255 * np.interp(np.arange(256) / 255, np.linspace(0, 1, 256), np.linspace(0, 1, 256)) ** (1 / 2.2)
    assert np.abs(values - expected)[16:].max() < 6


def cut(icc: bytes) -> bytes:
    return icc[: len(icc) // 2]


@pytest.mark.parametrize(
    "icc",
    [
        b"rubbish",
        b"\x00" * 500,
        cut(PROFILES["ProPhoto"]),
        profile(((0, 0, 0),) * 3, 1.0),  # everything is black
        profile((), 2.2, space=b"GRAY"),  # of gray, in an image of colours
        profile(SRGB, 2.2)[:40] + b"\xff" * 400,
    ],
)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_broken_or_absurd_profile_is_ignored(format, icc):
    plain = images.decode(encoded(scene(), format, b""))
    np.testing.assert_array_equal(np.asarray(images.decode(encoded(scene(), format, icc))), np.asarray(plain))


def test_srgb_by_any_name_costs_nothing():
    buffer = io.BytesIO(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    image = scene().resize((1600, 1200))
    assert colour.to_srgb(image, buffer.getvalue()) is image
    began = time.process_time()
    for _ in range(1000):
        assert colour.to_srgb(image, buffer.getvalue()) is image
    assert time.process_time() - began < 0.1  # 0.2 ms here; applying it would take seconds
