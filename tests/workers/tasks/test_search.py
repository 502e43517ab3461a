"""What a search does with photos, parts of them, and several of them. The embedding of an image is its mean colour."""

import io
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ml.decoders import Unfinished, Work
from ml.decoders.work import carry_out
from ml.errors import LookalikeError
from ml.images import BadBox, Limits
from ml.preprocessing import Preprocessing
from workers.errors import NotFound
from workers.messages import SearchResult, Skipped
from workers.process.slow_searches import Later
from workers.store import Payload, Point
from workers.store.edge import EdgeStore
from workers.tasks import search as module
from workers.tasks.search import Example, Request

COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "orange": (255, 120, 0),
    "cyan": (0, 220, 255),
}
OPTIONS: dict[str, Any] = {"k": 3, "label": None, "rerank": False}


def id_of(name: str) -> str:
    return f"{list(COLOURS).index(name) + 1:032x}"


def photo(left: str, right: str | None = None) -> bytes:
    image = Image.new("RGB", (640, 480), COLOURS[left])
    image.paste(COLOURS[right or left], (320, 0, 640, 480))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def embed(_embedder: Any, pixels: np.ndarray, *, urgent: bool) -> np.ndarray:
    colours = pixels.reshape(len(pixels), -1, 3).mean(axis=1).astype(np.float32) + 1
    return colours / np.linalg.norm(colours, axis=1, keepdims=True)


class Decoders:
    """Decodes in this process; late when told to."""

    is_slow = False

    def decode_quickly(self, data: bytes, work: Work) -> Any:
        return Unfinished(lambda: carry_out(data, work)) if self.is_slow else carry_out(data, work)


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Any]:
    preprocessing = Preprocessing(32, 32, "squash", "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), mirror=False)
    live = SimpleNamespace(
        model="colour",
        collection="colours",
        embedder=SimpleNamespace(preprocessing=preprocessing),
        calibration=None,
        told="nothing",
    )
    store = EdgeStore(tmp_path)
    store.ensure("colours", 3)
    originals = {id_of(name): photo(name) for name in COLOURS} | {id_of("cyan"): photo("red", "cyan")}
    for name in COLOURS:
        vector = embed(None, np.array([COLOURS[name]]), urgent=True)[0]
        store.upsert("colours", [Point(id_of(name), vector, Payload(f"{name}.png", name))])
    yield SimpleNamespace(
        store=store,
        active=lambda: live,
        limits=Limits(),
        decoders=Decoders(),
        gallery=SimpleNamespace(original=originals.__getitem__, skipped=lambda id: Skipped(id, "", "it is gone")),
        batcher=SimpleNamespace(embed=embed, searching=nullcontext),
    )
    store.close()


def search(serving: Any, like: Sequence[Example], **options: Any) -> SearchResult | Later:
    """One search alone; what is wrong with it is raised."""
    ((outcome,),) = (found.values() for found in module.search(serving, [Request(like, **options)]))
    if isinstance(outcome, LookalikeError):
        raise outcome
    return outcome


def labels(serving: Any, *like: Example, **options: Any) -> list[str | None]:
    found = search(serving, like, **OPTIONS | options)
    assert not isinstance(found, Later)
    return [result.label for result in found.results]


def test_a_part_of_a_photo_is_searched_with(serving):
    both = photo("green", "blue")
    assert labels(serving, Example(both, box=(0.5, 0, 0.5, 1)))[0] == "blue"
    assert labels(serving, Example(both, box=(0, 0, 320, 480)))[0] == "green"
    with pytest.raises(BadBox, match="640 x 480"):
        search(serving, [Example(both, box=(0, 0, 641, 480))], **OPTIONS)


def test_a_part_of_an_image_of_the_gallery_is_searched_with(serving):
    """Its right half is cyan, its left half red."""
    assert labels(serving, Example(id=id_of("cyan")))[0] == "cyan"
    assert labels(serving, Example(id=id_of("cyan"), box=(0, 0, 0.5, 1)))[0] == "red"


def test_several_are_searched_with_and_left_out_of_the_answer(serving):
    found = search(serving, [Example(photo("red")), Example(id=id_of("orange"))], **OPTIONS)
    assert not isinstance(found, Later)
    assert found.results[0].label == "red"  # a photo of it was sent; the gallery's own is not known to be the same
    assert "orange" not in [result.label for result in found.results]
    assert found.matches is None
    assert {result.probability for result in found.results} == {None}
    assert found.told == "they are fitted on searches with one photo"


def test_what_is_not_meant_moves_to_the_end(serving):
    """Orange is the nearest to red of what is left, until a photo of it is what is not meant."""
    like = Example(id=id_of("red"))
    assert labels(serving, like, k=5)[:2] == ["red", "orange"]
    shown = labels(serving, like, unlike=[Example(photo("orange"))], strategy="best", k=5)
    assert shown[-1] == "orange"
    assert len(shown) == 4


def test_photos_that_take_long_are_finished_later_all_of_them(serving):
    serving.decoders.is_slow = True
    found = search(
        serving, [Example(photo("red")), Example(photo("orange"))], unlike=[Example(photo("blue"))], **OPTIONS
    )
    assert isinstance(found, Later)
    assert found.size == sum(map(len, map(photo, ("red", "orange", "blue"))))
    assert found.finish().results[0].label in ("red", "orange")


GONE = Example(id=f"{9:032x}")


@pytest.mark.parametrize("more, unlike", [([], [GONE]), ([GONE], []), ([GONE], [GONE])])
def test_an_example_that_is_not_in_the_gallery_is_named_and_costs_only_itself(serving, more, unlike):
    found = search(serving, [Example(photo("red")), *more], unlike=unlike, **OPTIONS)
    assert found.results[0].label == "red"
    assert {each.id for each in found.skipped} == {GONE.id}
    assert len(found.skipped) == len(more) + len(unlike)


def test_the_first_example_may_be_the_one_that_is_gone(serving):
    found = search(serving, [GONE, Example(id=id_of("red"))], **OPTIONS)
    assert [each.id for each in found.skipped] == [GONE.id]
    assert found.matches is None and id_of("red") not in [each.id for each in found.results]


def test_a_search_of_which_nothing_is_left_fails(serving):
    with pytest.raises(NotFound, match=f"there is no photo {9:032x}"):
        search(serving, [GONE], unlike=[Example(id=id_of("red"))], **OPTIONS)
