"""Searches go before indexing, and indexing goes on beside them."""

import threading
import time
from typing import Any

import numpy as np
import pytest

from ml.model.backend import Interrupted
from workers.errors import Unavailable
from workers.process.batching import BULK_SLICE_S, Batcher


class Counting:
    """A model of one dimension, which says how many images came together, and may be held up or interrupted."""

    dim = 1
    largest_batch = 32
    side_by_side = 1

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.has_begun = threading.Event()
        self.can_be_interrupted = False
        self.is_interrupted = False

    def embed_arrays(self, pixels: np.ndarray) -> np.ndarray:
        self.is_interrupted = False
        self.batches.append([int(image.flat[0]) for image in pixels])
        self.has_begun.set()
        assert self.may_go_on.wait(10)
        if self.is_interrupted:
            raise Interrupted
        return pixels.reshape(len(pixels), -1)[:, :1].astype(np.float32)

    def interrupt(self) -> None:
        if self.can_be_interrupted:
            self.is_interrupted = True
            self.may_go_on.set()


@pytest.fixture
def batcher() -> Any:
    made = Batcher()
    yield made
    made.close()


@pytest.fixture
def model() -> Any:
    return Counting()


def images(*values: int) -> np.ndarray:
    return np.stack([np.full((2, 2, 3), value, np.uint8) for value in values])


def start(work: Any) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_everybody_gets_the_vectors_of_their_own_images(batcher: Batcher, model: Any) -> None:
    found: dict[int, float] = {}

    def search(value: int) -> None:
        found[value] = float(batcher.embed(model, images(value), urgent=True)[0, 0])

    threads = [start(lambda value=value: search(value)) for value in range(20)]
    for thread in threads:
        thread.join()
    assert found == {value: float(value) for value in range(20)}


def test_searches_that_wait_share_a_batch_and_go_before_bulk(batcher: Batcher, model: Any) -> None:
    model.may_go_on.clear()
    threads = [start(lambda: batcher.embed(model, images(1, 2, 3), urgent=False))]
    assert model.has_begun.wait(10)
    threads += [start(lambda value=value: batcher.embed(model, images(value), urgent=True)) for value in (10, 11)]
    deadline = time.monotonic() + 10
    while len(batcher._urgent) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    model.may_go_on.set()
    for thread in threads:
        thread.join()
    assert model.batches[0] == [1]
    assert sorted(model.batches[1]) == [10, 11]


def test_a_search_interrupts_the_piece_under_way_which_is_done_again(
    batcher: Batcher, model: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("workers.process.batching._LONGEST_YIELD_S", 30.0)
    model.can_be_interrupted = True
    model.may_go_on.clear()
    found: list[np.ndarray] = []
    bulk = start(lambda: found.append(batcher.embed(model, images(1, 2), urgent=False)))
    assert model.has_begun.wait(10)
    with batcher.searching():
        assert batcher.embed(model, images(10), urgent=True)[0, 0] == 10
    bulk.join(10)
    assert model.batches[:2] == [[1], [10]]
    assert [value for batch in model.batches[2:] for value in batch] == [1, 2], (
        "apart or together, as fast as the model has turned out to be"
    )
    assert found[0].ravel().tolist() == [1, 2]


def test_a_piece_that_waited_long_is_not_interrupted(batcher: Batcher, model: Any) -> None:
    model.can_be_interrupted = True
    with batcher.searching():
        model.may_go_on.clear()
        bulk = start(lambda: batcher.embed(model, images(1), urgent=False))
        assert model.has_begun.wait(10)
        with batcher.searching():
            assert not model.may_go_on.is_set()
        model.may_go_on.set()
        bulk.join(10)
    assert model.batches == [[1]]


def test_bulk_work_begins_when_the_search_has_ended(batcher: Batcher, model: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("workers.process.batching._LONGEST_YIELD_S", 30.0)
    with batcher.searching():
        threads = [start(lambda: batcher.embed(model, images(1), urgent=False)), start(batcher.yield_to_searches)]
        batcher.embed(model, images(10), urgent=True)
        assert model.batches == [[10]]
        assert threads[1].is_alive()
    for thread in threads:
        thread.join(10)
    assert model.batches == [[10], [1]]


def test_searches_without_end_do_not_stop_bulk_work(batcher: Batcher, model: Any) -> None:
    with batcher.searching():
        batcher.yield_to_searches()
        assert batcher.embed(model, images(7), urgent=False)[0, 0] == 7


def test_searches_that_follow_each_other_do_not_stop_bulk_work(batcher: Batcher, model: Any) -> None:
    is_done = threading.Event()

    def search() -> None:
        while not is_done.is_set():
            with batcher.searching():
                batcher.embed(model, images(10), urgent=True)

    searches = [start(search) for _ in range(4)]
    bulk = start(lambda: batcher.embed(model, images(1, 2, 3), urgent=False))
    bulk.join(10)
    has_ended = not bulk.is_alive()
    is_done.set()
    for thread in (*searches, bulk):
        thread.join(10)
    assert has_ended


def test_whoever_waits_hears_of_a_failure_and_the_next_is_served(batcher: Batcher, model: Any) -> None:
    broken: Any = Counting()
    broken.embed_arrays = lambda pixels: 1 / 0
    with pytest.raises(ZeroDivisionError):
        batcher.embed(broken, images(1), urgent=True)
    assert batcher.embed(model, images(2), urgent=True)[0, 0] == 2


def test_whoever_waits_when_it_closes_hears_of_it_and_whoever_comes_then_too(model: Any) -> None:
    """Nobody would ever answer them, and a process waits for its threads before it ends."""
    batcher, heard = Batcher(), []

    def bulk() -> None:
        with pytest.raises(Unavailable, match="the worker is ending"):
            batcher.embed(model, images(1), urgent=False)
        heard.append(1)

    with batcher.searching():  # bulk work gives way to it
        waiting = start(bulk)
        while not batcher._bulk:
            assert waiting.is_alive()
        batcher.close()
    waiting.join(10)
    bulk()
    assert heard == [1, 1]


def test_pieces_of_several_tasks_fill_a_slice_together(batcher: Batcher, model: Any) -> None:
    """A GPU wants full batches, and each task brings what it has just decoded."""
    model.may_go_on.clear()
    batcher._speed[id(model)] = 5 / BULK_SLICE_S  # five images a slice
    first = start(lambda: batcher.embed(model, images(0), urgent=False))
    assert model.has_begun.wait(10)
    others: list[Any] = []
    for number in range(3):
        others.append(start(lambda n=number: batcher.embed(model, images(10 * n + 1, 10 * n + 2), urgent=False)))
        while len(batcher._bulk) <= number:
            assert others[-1].is_alive()
    model.may_go_on.set()
    for thread in (first, *others):
        thread.join(10)
    assert model.batches[0] == [0]
    assert model.batches[1][:4] == [1, 2, 11, 12]
    assert [value for batch in model.batches[1:] for value in batch] == [1, 2, 11, 12, 21, 22]


@pytest.mark.parametrize(("speed", "size"), [(0.0, 2), (1.0, 2), (250.0, 4), (1e6, 32)])
def test_a_slice_of_bulk_work_has_an_image_for_each_core(batcher: Batcher, model: Any, speed: float, size: int) -> None:
    """However slow the processor is, or busy: a lone image would keep all cores waiting for each other."""
    model.side_by_side = 2
    model.may_go_on.clear()
    first = start(lambda: batcher.embed(model, images(0), urgent=True))
    assert model.has_begun.wait(10)
    batcher._speed[id(model)] = speed
    bulk = start(lambda: batcher.embed(model, images(*range(1, 37)), urgent=False))
    while sum(len(item.pixels) for item in list(batcher._bulk)) < 36:
        assert bulk.is_alive()
    sizes = [len(item.pixels) for item in batcher._bulk]
    model.may_go_on.set()
    for thread in (first, bulk):
        thread.join(10)
    assert sizes[:-1] == (36 // size - (36 % size == 0)) * [size]
