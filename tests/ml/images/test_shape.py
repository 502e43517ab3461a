"""The middle of an image is found where it correlates best, as a search square by square finds it."""

import numpy as np
import pytest
from PIL import Image

from ml.images.shape import Shape, places, turned

MIDDLE = 0.7  # of the shorter side


@pytest.fixture(scope="module")
def scene() -> Image.Image:
    """Blurred noise, 80 × 64."""
    noise = np.random.default_rng(0).integers(0, 256, (12, 15), np.uint8)
    return Image.fromarray(noise).resize((80, 64), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def image(scene: Image.Image) -> Image.Image:
    """A part of it, 64 × 48."""
    return scene.crop((0, 0, 64, 48))


def square_by_square(shape: Shape, other: Shape, turn: int) -> tuple[float, tuple[float, float]]:
    """How well the middle, as large as it is, fits where it fits best; and where, from the other's middle in pixels."""
    shades = shape.searched.astype(np.float32)
    side = MIDDLE * min(shades.shape)
    middle = (np.array(shades.shape[::-1]) - side) / 2
    pixels = round(side)
    box = (*middle, *(middle + side))
    small = Image.fromarray(shades).resize((pixels, pixels), Image.Resampling.BILINEAR, box=tuple(map(float, box)))
    template = turned(np.asarray(small), turn).ravel()
    height, width = other.searched.shape
    fits = {
        (row, column): float(
            np.corrcoef(template, other.searched[row : row + pixels, column : column + pixels].ravel())[0, 1]
        )
        for row in range(height - pixels + 1)
        for column in range(width - pixels + 1)
    }
    row, column = max(fits, key=lambda place: fits[place])
    return fits[row, column], (row + (pixels - height) / 2, column + (pixels - width) / 2)


@pytest.mark.parametrize("turn", range(8))
def test_it_is_found_in_every_turn_where_a_search_square_by_square_finds_it(
    scene: Image.Image, image: Image.Image, turn: int
) -> None:
    beside = np.asarray(scene.crop((6, 4, 70, 52)))
    moved = Image.fromarray(np.ascontiguousarray(turned(beside, turn)))
    best = next(iter(places(Shape(image), Shape(moved))))
    fit, (y, x) = square_by_square(Shape(image), Shape(moved), turn)
    assert fit > 0.9
    assert best.turn == turn
    assert abs(best.scale - 1) < 0.05
    np.testing.assert_allclose(best.shift * 32, [y, x], atol=1e-6)


def test_nothing_is_found_in_an_image_without_texture(image: Image.Image) -> None:
    flat = Shape(Image.new("L", (64, 48), 90))
    assert places(Shape(image), flat) == places(flat, Shape(image)) == []


def test_an_image_too_narrow_to_hold_the_middle_holds_none(image: Image.Image) -> None:
    assert places(Shape(image), Shape(image.crop((0, 0, 64, 6)))) == []
