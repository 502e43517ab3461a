"""Searches that wait for an answer: one record in Redis for each, with its photo, in the order in which they came.

    lookalike:searches           the records: the moment of asking by Redis' clock, then a Question in MessagePack
    lookalike:searches:attended  there while somebody looks, or will within moments: no further nudge is needed
    lookalike:searches:lately    there for minutes after a search

The broker carries nudges only ("look"): one answers all that wait. Whoever answered goes on listening for minutes, so
that hardly a search costs a message of the broker, of which each takes milliseconds of the processor. A
record that was taken is gone: one that is lost with its worker is asked again by the one who waits for it. The list
expires with the last of those who wait. The photo lies in the record: a broker would copy it several times, as base64
in JSON in base64, and write it down once more until it is acknowledged.
"""

import logging
from dataclasses import dataclass
from typing import Any

import msgspec
from redis.client import NEVER_DECODE

from workers.queue.app import LONGEST_SEARCH_QUEUE, QUEUES

logger = logging.getLogger(__name__)

WAITING = "lookalike:searches"
_ATTENDED = "lookalike:searches:attended"
_LATELY = "lookalike:searches:lately"
_LATELY_S = 600
_NUDGED_MS = 1000  # a nudge that nobody took by then is not counted upon
# Some batches long. Without it each batch costs a message of the broker, which is dearer than answering it.
_AT_WORK_MS = 100
_MARGIN_S = 0.3  # a sign outlasts the listening: who listens looks again, or asks on leaving whether anybody waits
_CLOCK = 17  # characters of the moment before a record: seconds, a point, microseconds

# Returns 0: too many wait; 1: somebody looks anyway; 2: send a nudge. KEYS: waiting, attended.
# ARGV: record, most that may wait, for how long the one who asks waits in ms, how long a nudge counts in ms.
_ASK = """
if redis.call('LLEN', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
local now = redis.call('TIME')
redis.call('RPUSH', KEYS[1], string.format('%010d.%06d', now[1], now[2]) .. ARGV[1])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
if redis.call('SET', KEYS[2], 'nudge', 'NX', 'PX', ARGV[4]) then return 2 end
return 1
"""


@dataclass(frozen=True)
class Question:
    """One search.

    Args:
        request: what workers.tasks.search.Request is made of, bytes among it.
        reply_to: where the answer is waited for.
        timeout_s: for how long.
        request_id: names it in logs.
    """

    request: dict[str, Any]
    reply_to: str
    timeout_s: float
    request_id: str | None = None


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Question)


class Questions:
    """Those that wait in one Redis. Safe to use from many threads and processes."""

    def __init__(self, server: Any) -> None:
        self._redis = server
        self._ask = server.register_script(_ASK)

    def ask(self, question: Question) -> bool | None:
        """Puts a question behind those that wait.

        Returns:
            Whether a nudge must be sent for it; None when too many wait: it was not taken in.
        """
        waits_ms = round(1000 * question.timeout_s) + 1000
        arguments = [_ENCODER.encode(question), LONGEST_SEARCH_QUEUE, waits_ms, _NUDGED_MS]
        outcome = int(self._ask(keys=[WAITING, _ATTENDED], args=arguments))
        return outcome == 2 if outcome else None

    def waiting(self) -> int:
        """How many wait."""
        return int(self._redis.llen(WAITING))

    def wants_nudge(self) -> bool:
        """Whether somebody waits whom nobody attends to. Whoever asks sends the nudge then."""
        return self.waiting() > 0 and bool(self._redis.set(_ATTENDED, "nudge", nx=True, px=_NUDGED_MS))

    def take(self, most: int, listen_s: float) -> list[tuple[Question, float]]:
        """The next questions, at most so many, and for how many seconds each has waited.

        Where none waits, the first one is listened for. Meanwhile nobody needs to nudge, nor for a moment afterwards:
        whoever took, or found none, looks again or leaves.
        """
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.set(_ATTENDED, "listener", px=round(1000 * (listen_s + _MARGIN_S)))
            pipe.execute_command(*("BLMPOP", listen_s, 1, WAITING, "LEFT", "COUNT", most), **{NEVER_DECODE: True})
            pipe.set(_ATTENDED, "at work", px=_AT_WORK_MS)  # any longer, and somebody else is needed
            pipe.time()
            _, popped, _, (seconds, microseconds) = pipe.execute()
        now = seconds + microseconds / 1e6
        return [read for record in (popped[1] if popped else ()) if (read := _read(record, now)) is not None]

    def note_asked(self) -> None:
        """For who has taken some, once in a while: it is worth listening for more."""
        self._redis.set(_LATELY, "asked", ex=_LATELY_S)

    def leave(self, *, to_go_on: bool) -> bool:
        """For who took and does not look again.

        Args:
            to_go_on: a nudge makes others listen next, if anybody asked lately.

        Returns:
            Whether to nudge: for that, or because somebody waits whom nobody attends to.
        """
        if to_go_on and self._redis.exists(_LATELY):
            self._redis.set(_ATTENDED, "nudge", px=_NUDGED_MS)
            return True
        self._redis.unlink(_ATTENDED)
        return self.wants_nudge()


def queue_lengths(server: Any) -> dict[str, int]:
    """What waits in each queue, searches included."""
    with server.pipeline(transaction=False) as pipe:
        for queue in (*QUEUES, WAITING):
            pipe.llen(queue)
        *tasks, searches = (int(length) for length in pipe.execute())
    lengths = dict(zip(QUEUES, tasks, strict=True))
    return lengths | {"search": lengths["search"] + searches}


def _read(record: bytes, now: float) -> tuple[Question, float] | None:
    try:
        question = _DECODER.decode(memoryview(record)[_CLOCK:])
        return question, max(0.0, now - float(record[:_CLOCK]))
    except ValueError as error:  # the others of its batch have nothing to do with it
        logger.warning("a search that waited is none: %s", error)
        return None
