"""The process that children come from may end at any time: that costs a moment, and no image."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest

from ml.decoders import Decoders, decoder
from ml.decoders.decoder import Decoder, Gone, Nursery
from ml.decoders.work import carry_out
from ml.errors import LookalikeError
from ml.images import UnreadableImage
from tests.ml.decoders.images import photo, slow, work

MEMORY = 256 * 2**20


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    made = Decoders()
    yield made
    made.close()


def end(nursery_pid: int) -> None:
    """As the system does it, with all children."""
    family = [psutil.Process(nursery_pid), *psutil.Process(nursery_pid).children()]
    os.killpg(nursery_pid, signal.SIGKILL)
    psutil.wait_procs(family, timeout=10)


def test_who_waits_for_a_child_of_an_ended_nursery_does_not_end_the_next_one(nursery):
    one, other = Decoder(nursery, 0), Decoder(nursery, 0)
    end(nursery.pid)
    with pytest.raises(Gone):
        one.wait(10)
    new = Decoder(nursery, 0)
    with pytest.raises(Gone) as gone:
        other.wait(10)
    assert gone.value.status is None
    new.ask(photo(), work(60), seconds=60, memory=MEMORY)
    np.testing.assert_array_equal(new.wait(60).pixels, carry_out(photo(), work()).pixels)


def test_an_image_survives_that_all_idle_children_ended(decoders):
    lane = decoders._bulk
    for child in [lane.take() for _ in range(3)]:
        lane.give_back(child)
    end(decoders.nursery_pid)
    assert decoders.decode(photo(), work()).pixels.shape == (224, 224, 3)


def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_one(nursery):
    first = Decoder(nursery, 0)
    nursery._control.settimeout(0.1)
    stopped = psutil.Process(nursery.pid)
    stopped.suspend()
    first.kill()
    with contextlib.suppress(psutil.NoSuchProcess):
        stopped.resume()
    new = Decoder(nursery, 0)
    assert new.pid in [child.pid for child in psutil.Process(nursery.pid).children()]


def test_a_nursery_that_ends_again_and_again_is_no_fault_of_the_image(decoders, monkeypatch):
    ask = decoder.Decoder.ask

    def end_all(self, *arguments, **options):
        end(decoders.nursery_pid)
        ask(self, *arguments, **options)

    monkeypatch.setattr(decoder.Decoder, "ask", end_all)
    with pytest.raises(LookalikeError, match="the process that decodes images was ended") as told:
        decoders.decode(photo(), work())
    assert told.value.passes
    assert not isinstance(told.value, UnreadableImage)


def test_a_nursery_that_cannot_be_started_is_no_fault_of_the_image(decoders, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(LookalikeError, match="the process that decodes images cannot be started") as told:
        decoders.decode(photo(), work())
    assert told.value.passes
    assert not isinstance(told.value, UnreadableImage)


def test_how_a_child_ended_is_known_where_ended_children_are_to_be_ignored(decoders):
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # a process inherits that
    try:
        with pytest.raises(UnreadableImage, match=r"takes more than 0\.1 s"):
            decoders.decode(slow(), work(0.1))
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_images_whose_children_ended_together_are_all_decoded(decoders, monkeypatch):
    ask, both_work, is_over = decoder.Decoder.ask, threading.Barrier(2), threading.Event()

    def end_once_both_work(self, *arguments, **options):
        ask(self, *arguments, **options)
        if not is_over.is_set() and both_work.wait(60) == 0:
            end(decoders.nursery_pid)
            is_over.set()
        assert is_over.wait(60)

    monkeypatch.setattr(decoder.Decoder, "ask", end_once_both_work)
    with ThreadPoolExecutor(2) as threads:
        both = [threads.submit(decoders.decode, photo(seed, 4000, 3000), work(60)) for seed in range(2)]
        for each in both:
            assert each.result().pixels.shape == (224, 224, 3)
