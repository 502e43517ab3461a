"""Decoding in children: the same result, and an end to what takes too much, whatever it is."""

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from ml.decoders import Decoders, Prepared, Unfinished, decoder, pool
from ml.decoders.work import carry_out
from ml.images import UnreadableImage
from tests.ml.decoders.images import encoded, photo, slow, slow_jpeg, work
from tests.ml.images.test_decoding import png_header

ROOT = Path(__file__).parents[3]


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    made = Decoders()
    yield made
    made.close()


def children(made: Decoders) -> list[psutil.Process]:
    return psutil.Process(made.nursery_pid).children()


def for_search(decoders: Decoders, data: bytes) -> Prepared:
    """What a search gets, sooner or, on a busy machine, later."""
    found = decoders.decode_quickly(data, work())
    return found.finish() if isinstance(found, Unfinished) else found


def test_a_child_makes_of_an_image_what_this_process_would(decoders):
    for seed, size in enumerate([(640, 480), (300, 4000), (3, 2)]):
        data = photo(seed, *size)
        here, bulk, quick = (
            carry_out(data, work()),
            decoders.decode(data, work()),
            for_search(decoders, data),
        )
        for there in (bulk, quick):
            np.testing.assert_array_equal(there.pixels, here.pixels)
            assert there.thumbnail == here.thumbnail


def test_what_has_no_room_in_shared_memory_comes_and_goes_as_well(decoders):
    noise = np.random.default_rng(0).integers(0, 255, (1200, 1600, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), "PNG")
    assert len(data) > 5 * 2**20
    np.testing.assert_array_equal(decoders.decode(data, work()).pixels, carry_out(data, work()).pixels)


def test_a_refused_image_is_refused_with_its_reason_and_hint(decoders):
    for data in (b"", b"text", photo()[:3000], encoded(Image.new("L", (40, 40)), "PNG")[:-40]):
        with pytest.raises(UnreadableImage) as here:
            carry_out(data, work())
        for step in (lambda image: decoders.decode(image, work()), lambda image: for_search(decoders, image)):
            with pytest.raises(UnreadableImage) as there:
                step(data)
            assert (there.value.message, there.value.hint) == (here.value.message, here.value.hint)


# Deadlines in these tests are a fraction of what their image takes on a machine three times as fast as ours, and
# nothing that has to be finished has one that a machine ten times as slow would miss.
@pytest.mark.parametrize("data", [slow(), slow_jpeg()], ids=["qoi", "jpeg"])
def test_what_takes_too_long_is_ended_at_its_deadline(decoders, data):
    decoders.decode(photo(), work())
    (child,) = children(decoders)
    with pytest.raises(UnreadableImage) as refused:
        decoders.decode(data, work(0.1))
    assert refused.value.message == ("takes more than 0.1 s of processor time to decode (LOOKALIKE_MAX_DECODE_SECONDS)")
    assert not child.is_running()
    assert decoders.decode(photo(), work()).pixels.shape == (224, 224, 3)


def test_memory_beyond_its_share_ends_an_image_and_nothing_else(decoders, monkeypatch):
    if sys.platform != "linux":
        pytest.skip("only Linux counts the memory of a process")
    data = png_header(9000, 9000, gray=True, data=zlib.compress(bytes(9001 * 9000), 1))
    monkeypatch.setattr("ml.decoders.pool.needed", lambda *_: 60 * 2**20)  # a header that lied would say so
    with pytest.raises(UnreadableImage, match="needs more memory than decoding may take"):
        decoders.decode(data, work())
    assert decoders.decode(photo(), work()).pixels.shape == (224, 224, 3)


def test_a_decoder_that_crashes_costs_its_image_alone(decoders, monkeypatch):
    began = threading.Event()
    ask = decoder.Decoder.ask

    def crash(self, data, *arguments, **options):
        ask(self, data, *arguments, **options)
        if len(data) > 200_000:
            os.kill(self.pid, signal.SIGSEGV)
            began.set()

    monkeypatch.setattr(decoder.Decoder, "ask", crash)
    with ThreadPoolExecutor(4) as threads:
        others = [threads.submit(decoders.decode, photo(seed), work()) for seed in range(20)]
        with pytest.raises(UnreadableImage, match="is damaged, or made to make decoders fail"):
            decoders.decode(photo(99, 6000, 5000), work())
        assert began.is_set()
        assert all(other.result().pixels.shape == (224, 224, 3) for other in others)


def test_a_decoder_that_somebody_kills_is_replaced_and_the_image_read(decoders, monkeypatch):
    killed = []
    ask = decoder.Decoder.ask

    def kill_once(self, *arguments, **options):
        ask(self, *arguments, **options)
        if not killed:
            killed.append(self.pid)
            os.kill(self.pid, signal.SIGKILL)

    monkeypatch.setattr(decoder.Decoder, "ask", kill_once)
    assert decoders.decode(photo(0, 4000, 3000), work()).pixels.shape == (224, 224, 3)
    assert killed


def test_a_nursery_that_somebody_kills_is_replaced(decoders):
    decoders.decode(photo(), work())
    os.killpg(decoders.nursery_pid, signal.SIGKILL)
    assert decoders.decode(photo(1), work()).pixels.shape == (224, 224, 3)
    assert isinstance(decoders.decode_quickly(photo(2), work()), (Prepared, Unfinished))


def test_a_search_does_not_wait_for_photos_that_take_long(decoders):
    ordinary = photo(0, 1200, 900)
    decoders.decode_quickly(ordinary, work())
    waits, data = [], slow_jpeg(side=5400)
    with ThreadPoolExecutor(8) as threads:
        hostile = [threads.submit(decoders.decode_quickly, data, work(0.4)) for _ in range(16)]
        bulk = [threads.submit(decoders.decode, data, work(0.4)) for _ in range(2)]
        while not all(each.done() for each in hostile):
            began = time.monotonic()
            decoders.decode_quickly(ordinary, work())
            waits.append(time.monotonic() - began)
        rest = [each.result() for each in hostile]
        assert all(isinstance(each, Unfinished) for each in rest)
        with pytest.raises(UnreadableImage, match=r"takes more than 0\.4 s"):
            rest[0].finish()
        for each in bulk:
            with pytest.raises(UnreadableImage, match=r"takes more than 0\.4 s"):
                each.result()
    # The median, on a machine that runs other tests, too; benchmarks/portal_search.py measures.
    assert statistics.median(waits) < 2


def test_a_photo_that_takes_long_is_finished_later(decoders):
    data = slow(2)
    found = decoders.decode_quickly(data, work(60))
    assert isinstance(found, Unfinished)
    np.testing.assert_array_equal(found.finish().pixels, carry_out(data, work(60)).pixels)


@pytest.mark.parametrize(("longest_s", "is_quick"), [(60.0, True), (0.2, False)])
def test_a_decoder_that_has_to_wait_for_the_processor_is_waited_for_and_not_for_ever(
    decoders, monkeypatch, longest_s, is_quick
):
    decoders.decode_quickly(photo(), work())
    ask, held = decoder.Decoder.ask, []

    def held_up(self, *args, **kwargs):
        if not held:
            held.append(self.pid)
            os.kill(self.pid, signal.SIGSTOP)
            if is_quick:
                threading.Timer(0.3, os.kill, (self.pid, signal.SIGCONT)).start()
        ask(self, *args, **kwargs)

    monkeypatch.setattr(decoder.Decoder, "ask", held_up)
    monkeypatch.setattr(pool, "_LONGEST_QUICK_S", longest_s)
    data = photo(1)
    found = decoders.decode_quickly(data, work())
    assert isinstance(found, Prepared if is_quick else Unfinished)
    finished = found if isinstance(found, Prepared) else found.finish()
    np.testing.assert_array_equal(finished.pixels, carry_out(data, work()).pixels)


def test_whoever_waits_long_behind_photos_that_take_long_is_told_so():
    made = Decoders(patience_s=0.2)
    lane = made._slow
    try:
        found = made.decode_quickly(slow(2), work(60))
        assert isinstance(found, Unfinished)
        with contextlib.ExitStack() as held:
            for _ in range(lane._size):
                held.enter_context(lane.turn())
            with pytest.raises(UnreadableImage, match="takes long to decode, and many that do were sent before it"):
                found.finish()
        assert found.finish().pixels.shape == (224, 224, 3)
    finally:
        made.close()


def test_closing_ends_everything(decoders):
    decoders.decode(photo(), work())
    decoders.decode_quickly(photo(), work())
    nursery = psutil.Process(decoders.nursery_pid)
    family = [nursery, *nursery.children()]
    decoders.close()
    assert not psutil.wait_procs(family, timeout=10)[1]
    with pytest.raises(OSError, match="no more images are decoded"):
        decoders.decode(photo(), work())


@pytest.mark.parametrize("busy", [False, True])
def test_children_end_with_the_process_that_started_them_however_it_ends(busy):
    code = (
        "import sys, threading\n"
        "from ml.decoders import Decoders\n"
        "from tests.ml.decoders.images import photo, slow, work\n"
        "made = Decoders(); made.decode(photo(), work())\n"
        f"if {busy}: threading.Thread(target=made.decode, args=(slow(30), work(60)), daemon=True).start()\n"
        "print(made.nursery_pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        nursery = psutil.Process(int(parent.stdout.readline()))
        family = [nursery, *nursery.children()]
        assert len(family) == 2
        parent.kill()
        assert not psutil.wait_procs(family, timeout=10)[1]


def test_a_nursery_loads_no_torch():
    code = (
        "import sys, ml.decoders.nursery; sys.exit(any(name in sys.modules for name in ('torch', 'celery', 'redis')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
