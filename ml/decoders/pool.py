"""All decoders of one process: bulk work beside searches, and what takes long beside neither.

A search's photo is decoded at once by a child of ordinary priority. One that is not finished after a tenth of a second
of processor time, or sooner when others wait for their turn, is set aside: it goes on at a low priority, a few at a
time, so that however many photos take long, the next search finds a decoder. Bulk work runs in children of lower
priority from the start.
"""

import contextlib
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ml import cores
from ml.decoders.decoder import Decoder, Gone, Nursery
from ml.decoders.memory import Budget, needed
from ml.decoders.work import Prepared, Work
from ml.errors import LookalikeError
from ml.images import UnreadableImage

# Of processor time, for whoever waits for the processor is not slow: on a machine that does other work, too, a third of
# ordinary photos were begun anew at the end of the line.
_QUICK_S = 0.1  # a photo of 12 megapixels takes some 25 ms, a HEIC of that size 300
_QUICK_WITH_OTHERS_S = 0.04
_LONGEST_QUICK_S = 0.4  # with all waiting
_SLOW_BULK_S = 1.0  # of processor time, too
_TICK_S = 1.0
# A decoder that gets no processor is not its image's fault; but whoever waits must not wait for ever.
_LONGEST_PER_SECOND = 12.0
_NEARLY_ALL = 0.9  # of the processor time that an image may take

# Niceness. Slow photos get a thirtieth of a core beside a program at 0: of those of a few seconds each is done in time.
_OF_BULK, _OF_SLOW_SEARCHES, _OF_SLOW_BULK = 10, 9, 15
_RESERVE_SHARE = 1 / 6
_PATIENCE_S = 15.0  # a search is answered within 30 s, and the photo itself may take ten


@dataclass(frozen=True)
class Unfinished:
    """A photo that takes longer than a search should. `finish` waits for it, and raises what `Decoders.decode` does."""

    finish: Callable[[], Prepared]


class _NoTurn(Exception):
    """Others were at work for too long."""


class _Lane:
    """Children of one priority: so many at work at most, started when they are needed."""

    def __init__(self, nursery: Nursery, size: int, niceness: int) -> None:
        self._nursery, self._size, self._niceness = nursery, size, niceness
        self._idle: list[Decoder] = []
        self._at_work = 0
        self._line: deque[threading.Event] = deque()  # who waits; set when a turn is theirs
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """How many wait for a turn."""
        return len(self._line)

    @contextlib.contextmanager
    def turn(self, patience_s: float | None = None) -> Iterator[None]:
        """Waits until whoever came before had a turn and fewer are at work than may be. Raises _NoTurn when that takes
        longer than so many seconds."""
        self._wait_for_turn(patience_s)
        try:
            yield
        finally:
            with self._lock:
                if self._line:  # a turn is handed on: whoever comes just now does not overtake
                    self._line.popleft().set()
                else:
                    self._at_work -= 1

    def _wait_for_turn(self, patience_s: float | None) -> None:
        with self._lock:
            if self._at_work < self._size:
                self._at_work += 1
                return
            mine = threading.Event()
            self._line.append(mine)
        if not mine.wait(patience_s):
            with self._lock:
                if not mine.is_set():
                    self._line.remove(mine)
                    raise _NoTurn

    def take(self) -> Decoder:
        """A child that does nothing."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self.start()

    def start(self) -> Decoder:
        """A new child."""
        return Decoder(self._nursery, self._niceness)

    def give_back(self, decoder: Decoder) -> None:
        """Keeps a child for the next image, or ends it when it cannot be used again."""
        if not decoder.is_reusable:
            decoder.kill()
            return
        with self._lock:
            self._idle.append(decoder)


class Decoders:
    """Decodes in children. Safe to use from many threads; starts nothing before the first image, or `warm_up`.

    Args:
        memory_bytes: most that all children together may take for images.
        bulk: images of bulk work that are decoded side by side; one for each core if None.
        patience_s: how long a search's photo that takes long may wait for others that do.
    """

    def __init__(
        self, memory_bytes: int = 1536 * 2**20, bulk: int | None = None, patience_s: float = _PATIENCE_S
    ) -> None:
        count = cores.available()
        self._nursery = Nursery()
        self._budget = Budget(memory_bytes, int(memory_bytes * _RESERVE_SHARE))
        self._bulk = _Lane(self._nursery, bulk or count, _OF_BULK)
        self._quick = _Lane(self._nursery, 2 * count, 0)
        self._slow = _Lane(self._nursery, max(1, count // 2), _OF_SLOW_SEARCHES)
        self._patience_s = patience_s

    @property
    def nursery_pid(self) -> int | None:
        """The process that all children are forked from; None before the first of them."""
        return self._nursery.pid

    def warm_up(self) -> None:
        """Starts what the first search needs, in the background."""

        def start() -> None:
            with contextlib.suppress(OSError, LookalikeError):
                self._quick.give_back(self._quick.take())

        threading.Thread(target=start, name="warm-decoders", daemon=True).start()

    def decode(self, data: bytes, work: Work) -> Prepared:
        """For bulk work: waits for its turn, and then for as long as the image may take.

        Raises:
            UnreadableImage: the image is refused, by what it is or by what it costs.
            LookalikeError: it could not be decoded now, which is no fault of its own and passes.
        """
        wanted = needed(data, work)
        with self._bulk.turn(), self._budget.taken(wanted) as memory:
            return self._finished(self._bulk, data, work, memory)

    def decode_quickly(self, data: bytes, work: Work) -> Prepared | Unfinished:
        """For a search: what comes of the image within a tenth of a second of work, or what takes longer.

        Raises:
            UnreadableImage: the image is refused.
            LookalikeError: as of `decode`.
        """
        memory = needed(data, work)
        if memory > self._budget.reserve:
            return self._later(data, work, memory)
        with self._quick.turn(), self._budget.taken(memory, may_use_reserve=True) as memory:
            decoder = self._quick.take()
            try:
                decoder.ask(data, work, seconds=work.limits.max_decode_s, memory=memory)
                began, spent_before = time.monotonic(), decoder.processor_s()
                while time.monotonic() - began < _LONGEST_QUICK_S:
                    spent = decoder.processor_s() - spent_before
                    if spent >= (_QUICK_WITH_OTHERS_S if self._quick.waiting else _QUICK_S):
                        break
                    if (prepared := decoder.wait(0.01 if self._quick.waiting else 0.02)) is not None:
                        return prepared
            except Gone as gone:
                if not gone.may_be_chance:
                    raise _refusal(gone, work) from gone
            finally:
                self._quick.give_back(decoder)
        return self._later(data, work, memory)

    def close(self) -> None:
        """Ends all children, whatever they do."""
        self._nursery.close()

    def _later(self, data: bytes, work: Work, memory: int) -> Unfinished:
        """From the start, in a child of low priority. What was spent so far is little, a child that waits is much."""

        def finish() -> Prepared:
            try:
                with self._slow.turn(self._patience_s), self._budget.taken(memory) as given:
                    return self._finished(self._slow, data, work, given)
            except _NoTurn as error:
                raise _too_many() from error

        return Unfinished(finish)

    def _finished(self, lane: _Lane, data: bytes, work: Work, memory: int, *, again: bool = True) -> Prepared:
        decoder = lane.take() if again else lane.start()  # the others may have ended together with the first one
        began, spent_before = time.monotonic(), decoder.processor_s()
        longest_s = _LONGEST_PER_SECOND * work.limits.max_decode_s
        try:
            decoder.ask(data, work, seconds=work.limits.max_decode_s, memory=memory)
            while (prepared := decoder.wait(_TICK_S)) is None:
                spent, waited = decoder.processor_s() - spent_before, time.monotonic() - began
                if lane is self._bulk and spent > _SLOW_BULK_S:
                    decoder.lower_priority(_OF_SLOW_BULK)
                if waited > longest_s:
                    raise _given_up(decoder, work, spent, waited)
            return prepared
        except Gone as gone:
            if not (gone.may_be_chance and again):
                raise _refusal(gone, work) from gone
        finally:
            lane.give_back(decoder)
        return self._finished(lane, data, work, memory, again=False)


def _too_many() -> UnreadableImage:
    return UnreadableImage(
        "takes long to decode, and many that do were sent before it", hint="try again later, or save it as JPEG"
    )


def _given_up(decoder: Decoder, work: Work, spent_s: float, waited_s: float) -> LookalikeError:
    """Whose fault it is that a decoder has not finished, though the kernel has not ended it for what it took."""
    if decoder.is_asleep:
        return _made_to_fail()
    if spent_s >= _NEARLY_ALL * work.limits.max_decode_s:
        return _too_slow(work)
    return LookalikeError(
        f"decoding a photo got {spent_s:.1f} s of processor time in {waited_s:.0f} s: this machine is busy",
        hint="try again when it has less to do",
        passes=True,
    )


def _too_slow(work: Work) -> UnreadableImage:
    return UnreadableImage(
        f"takes more than {work.limits.max_decode_s:g} s of processor time to decode (LOOKALIKE_MAX_DECODE_SECONDS)",
        hint="save it again as JPEG, or smaller",
    )


def _refusal(gone: Gone, work: Work) -> LookalikeError:
    if gone.status is None:
        return LookalikeError(
            "the process that decodes images was ended",
            hint="try again; the system's log may say by whom, and whether for want of memory",
            passes=True,
        )
    if gone.status == -signal.SIGPROF:
        return _too_slow(work)
    if gone.status == -signal.SIGKILL:
        return UnreadableImage("needs more memory than decoding may take", hint="save it smaller")
    return _made_to_fail()


def _made_to_fail() -> UnreadableImage:
    return UnreadableImage("is damaged, or made to make decoders fail")
