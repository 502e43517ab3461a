"""Groups of copies: around the best one, and without chains."""

import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from ml.images.sharpness import sharpness
from workers.client import copy_groups
from workers.messages import GalleryImage, Pair


def picture(blur: float = 0.0) -> bytes:
    noise = np.random.default_rng(1).integers(0, 255, (96, 96), dtype=np.uint8)
    image = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(1 + blur))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


class Client:
    """A client with images of given sizes, all as sharp unless said, and pairs that were found."""

    def __init__(self, widths: dict[str, int], pairs: list[tuple[str, str, str]], blurred: str = "") -> None:
        images = {
            name: GalleryImage(name, f"{name}.jpg", f"{name}.jpg", None, width, width, "JPEG", width, 1.0)
            for name, width in widths.items()
        }
        found = [Pair(one, other, f"{one}.jpg", f"{other}.jpg", 0.9, tier, 0.98) for one, other, tier in pairs]
        self.duplicates = SimpleNamespace(pairs=lambda job: found)
        self.gallery = SimpleNamespace(find_many=lambda ids: {id: images[id] for id in ids if id in images})
        self._pictures = {name: picture(4.0 if name in blurred else 0.0) for name in widths}

    def thumbnail(self, id: str) -> bytes:
        return self._pictures[id]


def grouped(client: Any) -> list[tuple[str, set[str], str]]:
    groups, _ = copy_groups(client, "duplicates-1")
    return [(group.best.id, {copy.image.id for copy in group.copies}, group.tier) for group in groups]


def test_each_member_is_a_copy_of_the_one_that_is_kept() -> None:
    chain = [("a", "b", "near-copy"), ("b", "c", "near-copy"), ("c", "d", "near-copy")]
    client = Client({"a": 400, "b": 300, "c": 200, "d": 100}, chain)
    assert grouped(client) == [("a", {"b"}, "near-copy"), ("c", {"d"}, "near-copy")]


def test_the_one_with_the_most_pixels_is_best_unless_it_is_blurred() -> None:
    pairs = [("a", "b", "same-image"), ("a", "c", "same-image"), ("b", "c", "same-image")]
    widths = {"a": 300, "b": 400, "c": 200}
    assert grouped(Client(widths, pairs)) == [("b", {"a", "c"}, "same-image")]
    assert grouped(Client(widths, pairs, blurred="b")) == [("a", {"b", "c"}, "same-image")]


def test_the_same_image_comes_first_and_one_near_copy_makes_a_group_of_near_copies() -> None:
    pairs = [("a", "b", "same-image"), ("a", "c", "near-copy"), ("x", "y", "same-image")]
    client = Client({"a": 400, "b": 300, "c": 200, "x": 100, "y": 90}, pairs)
    assert grouped(client) == [("x", {"y"}, "same-image"), ("a", {"b", "c"}, "near-copy")]


def test_what_was_deleted_since_is_left_out() -> None:
    client = Client({"a": 400, "b": 300}, [("a", "b", "same-image"), ("a", "z", "same-image")])
    assert grouped(client) == [("a", {"b"}, "same-image")]


@pytest.mark.parametrize("blur", [1.0, 3.0])
def test_a_blurred_photo_is_less_sharp(blur: float) -> None:
    assert sharpness(picture(blur)) < 0.8 * sharpness(picture())
