"""Copies among a gallery's images: near by their vectors, and told from others by their thumbnails."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deploy.demo_photos import make
from ml.images import thumbnail
from ml.model.head import unit_length
from workers.errors import NotFound
from workers.messages import Pair
from workers.process.appearances import Appearances
from workers.queue.jobs import PREFIXES, Chunk
from workers.store import Payload, Point
from workers.store.edge import EdgeStore
from workers.tasks import duplicates


class Thumbnails(dict[str, bytes]):
    """The part of a gallery that is looked at."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def thumbnail(self, id: str) -> bytes:
        self.read.append(id)
        if id not in self:
            raise NotFound(f"there is no image {id}")
        return self[id]


@pytest.fixture
def serving(tmp_path: Path) -> Any:
    store = EdgeStore(tmp_path / "store")
    store.ensure("photos", 16)
    live = SimpleNamespace(model="model", collection="photos")
    batcher = SimpleNamespace(yield_to_searches=lambda: None)
    gallery: Any = Thumbnails()
    appearances = Appearances(gallery)
    yield SimpleNamespace(store=store, active=lambda: live, batcher=batcher, gallery=gallery, appearances=appearances)
    store.close()


def add(serving: Any, number: int, image: Image.Image | None, vector: np.ndarray) -> str:
    """Ids whose last number is odd lie at the other end of the gallery."""
    id = f"{number:02x}{number:030x}"
    if image is not None:
        serving.gallery[id] = thumbnail(image)
    serving.store.upsert("photos", [Point(id, vector, Payload(f"{number}.jpg", None))])
    return id


def found(serving: Any, score_from: float = 0.955) -> list[Pair]:
    return duplicates.find(serving, Chunk("duplicates-1", 0, PREFIXES, 1, {"threshold": score_from}), lambda: None)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Image.Image]:
    paths = make(tmp_path_factory.mktemp("made"), products=2, views=2)
    return [Image.open(path).convert("RGB") for path in paths]


def vector(seed: int, noise: int = 0) -> np.ndarray:
    near = np.random.default_rng(seed).normal(size=16) + 0.1 * np.random.default_rng(noise).normal(size=16)
    return unit_length(near[None].astype(np.float32))[0]


def resaved(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=60)
    return Image.open(buffer)


def test_a_copy_is_found_and_other_photos_that_are_as_near_are_not(serving: Any, photos: list[Image.Image]) -> None:
    one = add(serving, 3, photos[0], vector(1, 1))
    copy = add(serving, 201, resaved(photos[0]), vector(1, 2))
    add(serving, 77, photos[1], vector(1, 3))
    pairs = {(pair.id, pair.other_id, pair.path, pair.other_path, pair.tier) for pair in found(serving)}
    assert pairs == {(one, copy, "3.jpg", "201.jpg", "same-image")}


def test_a_copy_whose_vector_is_far_is_not_looked_at(serving: Any, photos: list[Image.Image]) -> None:
    add(serving, 3, photos[0], vector(1))
    add(serving, 4, resaved(photos[0]), -vector(1))
    assert found(serving) == []


def test_each_photo_is_read_once_however_often_it_is_compared(serving: Any, photos: list[Image.Image]) -> None:
    ids = [add(serving, 80 * number, photo, vector(1, number)) for number, photo in enumerate(photos[:3])]
    for prefix in PREFIXES:  # each is a chunk of its own
        duplicates.find(serving, Chunk("duplicates-1", 0, (prefix,), 1, {"threshold": 0.955}), lambda: None)
    assert sorted(serving.gallery.read) == sorted(ids)


def test_a_thumbnail_that_comes_back_is_read_again(serving: Any, photos: list[Image.Image]) -> None:
    one, copy = add(serving, 3, photos[0], vector(1)), add(serving, 4, resaved(photos[0]), vector(1, 2))
    thumbnail_of_one = serving.gallery.pop(one)
    assert found(serving) == []
    serving.gallery[one] = thumbnail_of_one
    assert {(pair.id, pair.other_id) for pair in found(serving)} == {(one, copy)}


def test_a_missing_thumbnail_costs_only_itself(serving: Any, photos: list[Image.Image]) -> None:
    add(serving, 1, None, vector(1))
    serving.gallery[add(serving, 2, None, vector(1, 1))] = b"no JPEG"
    one, copy = add(serving, 3, photos[0], vector(1, 2)), add(serving, 4, resaved(photos[0]), vector(1, 3))
    assert {(pair.id, pair.other_id) for pair in found(serving)} == {(one, copy)}


def test_a_lower_score_takes_less_for_a_copy(serving: Any, photos: list[Image.Image]) -> None:
    covered = photos[0].copy()
    covered.paste("white", (0, 0, covered.width, covered.height * 4 // 10))
    add(serving, 3, photos[0], vector(1))
    add(serving, 4, covered.rotate(2), vector(1, 2))
    scores = [pair.score for pair in found(serving, 0.5)]
    assert all(score >= 0.5 for score in scores)
    assert {pair.score for pair in found(serving, 0.999)} <= set(scores)
