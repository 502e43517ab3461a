"""A child that gets little of the processor is told from one that takes too much of it, and from one that hangs."""

import os
import signal
import sys
from collections.abc import Iterator

import psutil
import pytest

from ml.decoders import Decoders, Prepared, Unfinished, Work, decoder, pool
from ml.errors import LookalikeError
from ml.images import UnreadableImage
from tests.ml.decoders.images import photo, work

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what another process takes")


@pytest.fixture
def decoders(monkeypatch) -> Iterator[Decoders]:
    """They wait for a second, which each test's image outlasts, whose limit is a minute."""
    made = Decoders()
    made.decode(photo(), work())
    monkeypatch.setattr(pool, "_LONGEST_PER_SECOND", 1 / 60)
    yield made
    made.close()


@pytest.fixture
def asked(monkeypatch) -> list[decoder.Decoder]:
    """Those that were given work; each is stopped before that, as one that gets nothing of the processor."""
    ask, found = decoder.Decoder.ask, []

    def stopped(self, *arguments, **options):
        os.kill(self.pid, signal.SIGSTOP)
        ask(self, *arguments, **options)
        found.append(self)

    monkeypatch.setattr(decoder.Decoder, "ask", stopped)
    return found


def for_search(decoders: Decoders, data: bytes, work: Work) -> Prepared:
    found = decoders.decode_quickly(data, work)
    assert isinstance(found, Unfinished)
    return found.finish()


@pytest.mark.parametrize("decode", [Decoders.decode, for_search], ids=["bulk", "search"])
def test_what_gets_too_little_of_the_processor_is_an_error_that_passes(decoders, asked, decode):
    with pytest.raises(LookalikeError, match=r"decoding a photo got 0\.0 s of processor time in [12] s") as told:
        decode(decoders, photo(1), work(60))
    assert told.value.passes
    assert not isinstance(told.value, UnreadableImage)
    assert not any(psutil.pid_exists(each.pid) for each in asked)  # its answer would be taken for the next image's


def test_what_has_taken_nearly_all_that_it_may_is_refused(decoders, asked, monkeypatch):
    monkeypatch.setattr(decoder.Decoder, "processor_s", lambda self: 58.0 * len(asked))
    with pytest.raises(UnreadableImage, match="takes more than 60 s of processor time"):
        decoders.decode(photo(1), work(60))


def test_what_hangs_without_wanting_the_processor_is_refused(decoders, monkeypatch):
    monkeypatch.setattr(decoder.Decoder, "ask", lambda *_, **__: None)  # it waits for ever for its work
    with pytest.raises(UnreadableImage, match="is damaged, or made to make decoders fail"):
        decoders.decode(photo(1), work(60))


def test_a_child_that_waited_for_the_processor_keeps_its_priority(decoders, asked, monkeypatch):
    monkeypatch.setattr(pool, "_LONGEST_PER_SECOND", 12.0)
    wait, ticks = decoder.Decoder.wait, []

    def goes_on_after_two(self, timeout_s):
        prepared = wait(self, timeout_s)
        ticks.append(prepared)
        if len(ticks) == 2:
            os.kill(self.pid, signal.SIGCONT)
        return prepared

    monkeypatch.setattr(decoder.Decoder, "wait", goes_on_after_two)
    assert decoders.decode(photo(1), work(60)).pixels.shape == (224, 224, 3)
    assert ticks[:2] == [None, None]
    assert asked[0].is_reusable
