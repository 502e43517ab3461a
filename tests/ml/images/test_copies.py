"""Copies of a photo are told from other photos, and the same image from one that was changed."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from deploy.demo_photos import make
from ml.images.copies import Appearance, compare
from ml.images.likeness import NEAR_COPY, SAME_IMAGE
from ml.images.overlay import overlays
from ml.images.shape import Shape


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Image.Image]:
    """Two photos each of three products."""
    paths = make(tmp_path_factory.mktemp("photos"), products=3, views=2)
    return [Image.open(path).convert("RGB") for path in paths]


def saved(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def written_over(image: Image.Image) -> Image.Image:
    image = image.copy()
    ImageDraw.Draw(image).text((image.width / 2, image.height / 2), "SOLD OUT", "white", anchor="mm", font_size=40)
    return image


def cropped(image: Image.Image, share: float) -> Image.Image:
    width, height = image.size
    return image.crop((0, round(height * share), width - round(width * share), height))


def screenshot(image: Image.Image) -> Image.Image:
    screen = Image.new("RGB", (image.width, round(image.height * 1.5)), "white")
    screen.paste(image.resize((image.width * 9 // 10, image.height * 9 // 10)), (image.width // 20, image.height // 4))
    return screen


RESAVED = {
    "quality 60": lambda image: saved(image, 60),
    "quality 30": lambda image: saved(image, 30),
    "half as large": lambda image: image.resize((image.width // 2, image.height // 2)),
    "three times as large": lambda image: image.resize((image.width * 3, image.height * 3), Image.Resampling.BICUBIC),
}
CHANGED = {
    "cropped": lambda image: cropped(image, 0.1),
    "bordered": lambda image: ImageOps.expand(image, image.width // 12, "white"),
    "written over": written_over,
    "mirrored": ImageOps.mirror,
    "turned": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "tilted": lambda image: image.rotate(5, Image.Resampling.BICUBIC, expand=True),
    "grey": lambda image: image.convert("L"),
    "in a screenshot": screenshot,
}


def tier(first: Image.Image, second: Image.Image) -> str | None:
    likeness = compare(Appearance(first), Appearance(saved(second, 85)))
    return likeness and likeness.tier


@pytest.mark.parametrize("how", RESAVED.values(), ids=RESAVED)
def test_what_was_saved_anew_or_resized_is_the_same_image(photos, how):
    assert {tier(photo, how(photo)) for photo in photos} == {SAME_IMAGE}


@pytest.mark.parametrize("how", CHANGED.values(), ids=CHANGED)
def test_what_was_changed_is_a_near_copy(photos, how):
    assert {tier(photo, how(photo)) for photo in photos} == {NEAR_COPY}


def test_other_photos_are_no_copies_not_even_of_the_same_thing(photos):
    for number, photo in enumerate(photos):
        assert {tier(photo, other) for other in photos[number + 1 :]} <= {None}


def test_photos_without_any_texture_and_of_odd_sizes_are_no_copies_and_no_errors(photos):
    odd = [Image.new("RGB", size, "grey") for size in ((300, 200), (1, 1), (2000, 1), (8, 900))]
    for one in odd:
        assert [tier(one, other) for other in (*odd, photos[0])] == [None] * (len(odd) + 1)


def test_a_copy_lies_where_it_was_cut_from(photos):
    width, height = photos[0].size
    part = photos[0].crop((0, 0, round(width * 0.8), round(height * 0.8)))
    found = next(overlays(Shape(photos[0].convert("L")), Shape(part.convert("L"))))
    transform = found.transform if found.transform.scale > 1 else found.transform.inverse()
    np.testing.assert_allclose(transform.linear, 1.25 * np.eye(2), atol=0.02)
    np.testing.assert_allclose(transform.shift, [0.125, 0.125], atol=0.02)


def test_a_photo_and_a_file_of_it_are_compared_alike(photos, tmp_path: Path):
    photos[0].save(tmp_path / "a.png")
    assert tier(photos[0], Image.open(tmp_path / "a.png")) == SAME_IMAGE
