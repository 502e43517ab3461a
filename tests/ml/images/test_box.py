"""A part of an image, as somebody names it."""

import io

import numpy as np
import pytest
from PIL import Image

from ml.decoders.work import Work, carry_out
from ml.images import BadBox, Box
from tests.ml.decoders.images import PREPROCESSING


@pytest.mark.parametrize(
    "numbers, size, shares",
    [
        ((0.25, 0.5, 0.5, 0.25), (640, 480), (0.25, 0.5, 0.5, 0.25)),
        ((160, 240, 320, 120), (640, 480), (0.25, 0.5, 0.5, 0.25)),
        ((0, 0, 1, 1), (640, 480), (0, 0, 1, 1)),
        ((0, 0, 640, 480), (640, 480), (0, 0, 1, 1)),
        ((0.7, 0.1, 0.3000001, 0.9), (640, 480), (0.7, 0.1, 0.3, 0.9)),
    ],
)
def test_numbers_are_shares_up_to_1_else_pixels(numbers, size, shares):
    assert Box.of(numbers, size).shares == pytest.approx(shares)


@pytest.mark.parametrize(
    "numbers, reason",
    [
        ((0.1, 0.1, 0.5), "must be four numbers, got 0.1,0.1,0.5"),
        ((0.1, 0.1, float("nan"), 0.5), "must be four numbers"),
        ((0.6, 0.1, 0.5, 0.5), "must lie within the photo of 640 x 480 pixels, got 0.6,0.1,0.5,0.5"),
        ((-0.1, 0.1, 0.5, 0.5), "must lie within the photo"),
        ((600, 10, 50, 50), "must lie within the photo"),
        ((0.1, 0.1, 0.5, 0.01), "must hold at least 8 x 8 pixels, got 0.1,0.1,0.5,0.01"),
        ((10, 10, 7, 50), "must hold at least 8 x 8 pixels"),
        ((0.1, 0.1, 0, 0), "must hold at least 8 x 8 pixels"),
    ],
)
def test_what_is_no_part_of_the_image_is_refused(numbers, reason):
    with pytest.raises(BadBox, match=reason):
        Box.of(numbers, (640, 480))


def test_of_an_image_with_few_pixels_all_is_taken():
    assert Box.of((0, 0, 1, 1), (3, 2)).cut(Image.new("RGB", (3, 2))).size == (3, 2)


@pytest.mark.parametrize("size", [(3000, 2000), (600, 400)])
def test_the_part_is_as_sharp_as_the_image_allows_and_upright(size):
    """A red square in the middle of the upper left fourth, in a JPEG that lies on its side."""
    width, height = size
    image = Image.new("RGB", size, "white")
    box = (width // 8, height // 8, width // 4, height // 4)
    image.paste("red", (box[0], box[1], box[0] + box[2], box[1] + box[3]))
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    image.transpose(Image.Transpose.ROTATE_90).save(buffer, "JPEG", exif=exif, quality=95)
    work = Work(PREPROCESSING, box=Box.of(box, size))
    pixels = carry_out(buffer.getvalue(), Work.from_json(work.to_json())).pixels
    assert work.min_side >= 4 * PREPROCESSING.min_side
    assert np.abs(pixels.astype(int) - [254, 0, 0]).mean() < 6
