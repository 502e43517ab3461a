"""Long work in short pieces: the record that survives the broker, exact under redelivery.

A job is a record in Redis with its items in chunks. The broker only carries nudges ("look at chunk 7 of job x"): what
is not finished in time, or whose worker died, is due again, and whoever follows the job, whoever finishes a chunk and
every worker's housekeeping enqueue what is due. A chunk is counted once, however often it ran; since a run notes what
it is about to do, one that was cut short between doing and counting is counted by the next as if it had done both.
Every key of a job expires a week after its end; every time in a record is the server's.

    lookalike:jobs                   ids of running jobs
    lookalike:jobs:kinds             every kind that there has been
    lookalike:jobs:<kind>            ids of the latest jobs of a kind, newest first
    lookalike:job:<id>               state and counters
    lookalike:job:<id>:chunks        number -> items, of chunks that are not finished
    lookalike:job:<id>:waiting       numbers that were not enqueued yet, in order
    lookalike:job:<id>:leases        number -> time at which it counts as lost
    lookalike:job:<id>:holders       number -> worker that claimed it
    lookalike:job:<id>:attempts      number -> claims so far
    lookalike:job:<id>:intents       number -> write-ahead note of its last run: item -> result
    lookalike:job:<id>:waits         number -> times that it was put off, and since when the job waits
    lookalike:job:<id>:failures      the first 1,000 failures
    lookalike:job:<id>:findings      what the job found, if that is its purpose
"""

import contextlib
import json
import math
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from ml.names import BadName, JobName
from workers.errors import JobEnded, NotFound
from workers.messages import Failure, JobStatus, Message
from workers.queue import job_scripts
from workers.queue.job_scripts import KEPT_S
from workers.queue.liveness import server_time, worker_key

CHUNK = 64  # images: under a second of work with the default model on two cores
MAX_ATTEMPTS = 3  # claims of one chunk; then its items are tried one by one, then put aside
_QUEUED_S = 30.0  # a nudge that nobody took by then counts as lost
_RENEWED_S = 1.0
_CLAIMED_S = 60.0  # a claim that nobody renewed by then counts as lost
_LISTED = 20  # latest jobs of a kind
_ABANDONED_S = 60.0  # a job whose filler was silent for so long ends with what it has
_WAITS_S = (3.0, 60.0)  # first and longest pause before a chunk that waits for something is due again
LONGEST_WAIT_S = 600.0  # a job that waited for so long without finishing a chunk has failed
_RUNNING = "lookalike:jobs"
_KINDS = "lookalike:jobs:kinds"
PREFIXES = tuple(f"prefix:{n:02x}" for n in range(256))  # items that stand for all images whose ids start so
DRIVEN = ("publish-", "tune-")  # jobs of steps that follow one another: workers.tasks.publish takes them
COUNTERS = ("added", "unchanged", "updated", "removed", "failed")


@dataclass(frozen=True)
class Chunk:
    """Items of a job that one worker has claimed. `attempt` counts from 1."""

    job: str
    number: int
    items: tuple[str, ...]
    attempt: int
    params: dict[str, Any]


class Jobs:
    """Job records in one Redis. Safe to use from many threads and processes."""

    def __init__(self, server: Any) -> None:
        self.server = self._redis = server
        self._append = server.register_script(job_scripts.APPEND)
        self._count = server.register_script(job_scripts.COUNT)
        self._seal = server.register_script(job_scripts.SEAL)
        self._next = server.register_script(job_scripts.NEXT)
        self._claim = server.register_script(job_scripts.CLAIM)
        self._renew = server.register_script(job_scripts.RENEW)
        self._finish = server.register_script(job_scripts.FINISH)
        self._release = server.register_script(job_scripts.RELEASE)
        self._postpone = server.register_script(job_scripts.POSTPONE)
        self._split = server.register_script(job_scripts.SPLIT)
        self._end = server.register_script(job_scripts.END)

    def create(self, kind: str, params: Mapping[str, Any] | None = None, *, externally_driven: bool = False) -> str:
        """Opens a record, to be filled by `append` and closed by `seal`.

        One that is driven externally never ends with its last chunk: whoever drives it calls `end`.
        """
        job = f"{kind}-{uuid.uuid4().hex[:12]}"
        now = server_time(self._redis)
        record = {"kind": kind, "state": "running", "params": json.dumps(dict(params or {})), "created_at": now}
        record |= dict.fromkeys(("total", "done", "next", *COUNTERS), 0) | {"touched_at": now}
        record["sealed"] = "externally" if externally_driven else "open"
        with self._redis.pipeline() as pipe:
            pipe.hset(_key(job), mapping=record)
            pipe.sadd(_RUNNING, job)
            pipe.sadd(_KINDS, kind)
            pipe.lpush(f"{_RUNNING}:{kind}", job)
            pipe.ltrim(f"{_RUNNING}:{kind}", 0, _LISTED - 1)
            pipe.execute()
        return job

    def append(self, job: str, items: Sequence[str], *, counted: bool = True, size: int = CHUNK) -> None:
        """Adds items, in chunks; `counted`: as part of the job's total.

        A job that ended because its filler was silent is opened again.

        Raises:
            JobEnded: it was stopped, has failed or was closed.
        """
        for start in range(0, len(items), size):
            chunk = list(items[start : start + size])
            weight = len(chunk) if counted else 0
            keys = [*_keys(job, "chunks", "waiting", "failures", "findings"), _RUNNING]
            state = self._append(keys, [json.dumps(chunk), weight, job])
            if state != "running":
                raise JobEnded(job, state)

    def count(self, job: str, counts: Mapping[str, int], failures: Sequence[Failure] = ()) -> None:
        """Counts items that ended before they became part of a chunk: failed to be read, or known already.

        As `append`, it opens a job again that ended because its filler was silent.

        Raises:
            JobEnded: it was stopped, has failed or was closed.
        """
        pairs = [part for pair in counts.items() for part in pair]
        texts = [json.dumps(failure.to_json()) for failure in failures]
        keys = [*_keys(job, "failures", "findings"), _RUNNING]
        state = self._count(keys, [job, sum(counts.values()), len(counts), *pairs, *texts])
        if state != "running":
            raise JobEnded(job, state)

    def seal(self, job: str) -> None:
        """Says that nothing more will be appended: the job ends with its last chunk."""
        self._close(job, "sealed", 0.0)

    def status(self, job: str) -> JobStatus:
        """How far a job is. Raises NotFound."""
        with self._redis.pipeline() as pipe:
            pipe.hgetall(_key(job))
            pipe.lrange(f"{_key(job)}:failures", 0, -1)
            pipe.time()
            fields, failures, (seconds, microseconds) = pipe.execute()
        if not fields:
            raise NotFound(f"there is no job {job}", hint="finished jobs are kept for a week")
        ended_at = float(fields["finished_at"]) if fields.get("finished_at") else None
        return JobStatus(
            job=job,
            kind=fields["kind"],
            state=fields["state"],
            total=int(fields["total"]),
            done=int(fields["done"]),
            seconds=round((ended_at or seconds + microseconds / 1e6) - float(fields["created_at"]), 3),
            ended_at=ended_at,
            failures=tuple(Failure.from_json(json.loads(failure)) for failure in failures),
            detail=json.loads(fields.get("detail") or "{}") | _extra_counters(fields) | _waits(fields),
            **{name: int(fields[name]) for name in COUNTERS},
        )

    def set_params(self, job: str, params: Mapping[str, Any]) -> None:
        """Replaces what the job was created with."""
        self._redis.hset(_key(job), "params", json.dumps(dict(params)))

    def params(self, job: str) -> dict[str, Any]:
        """What the job was created with."""
        params: dict[str, Any] = json.loads(self._redis.hget(_key(job), "params") or "{}")
        return params

    def pending(self, job: str) -> int:
        """How many chunks are not finished."""
        return int(self._redis.hlen(f"{_key(job)}:chunks"))

    def running(self) -> list[str]:
        """Ids of jobs that have not ended."""
        return sorted(self._redis.smembers(_RUNNING))

    def latest(self, kind: str, limit: int) -> list[JobStatus]:
        """The latest few jobs of a kind, running ones included, newest first; without those that are forgotten."""
        found = []
        for job in self._redis.lrange(f"{_RUNNING}:{kind}", 0, limit - 1):
            with contextlib.suppress(NotFound):
                found.append(self.status(job))
        return found

    def waiting(self) -> dict[str, str]:
        """Running jobs that wait for something, with what each waits for."""
        jobs = self.running()
        with self._redis.pipeline() as pipe:
            for job in jobs:
                pipe.hget(_key(job), "waits_for")
            reasons = pipe.execute()
        return {job: reason for job, reason in zip(jobs, reasons, strict=True) if reason}

    def kinds(self) -> list[str]:
        """Every kind that jobs have been created of."""
        return sorted(self._redis.smembers(_KINDS))

    def due(self, job: str, width: int) -> list[int]:
        """Leases numbers of chunks to enqueue now, so that at most `width` are under way."""
        keys = _keys(job, "chunks", "waiting", "leases", "holders")
        return [int(n) for n in self._next(keys, [_QUEUED_S, width, worker_key("")])]

    def claim(self, job: str, number: int, worker: str) -> Chunk | None:
        """Takes a chunk; None when it is finished, stopped, or in the hands of another living worker."""
        keys = _keys(job, "chunks", "leases", "holders", "attempts")
        answer = self._claim(keys, [number, worker, _CLAIMED_S, worker_key("")])
        if answer is None:
            return None
        items, attempt, params = answer
        return Chunk(job, number, tuple(json.loads(items)), int(attempt), json.loads(params))

    def renew(self, chunk: Chunk) -> None:
        """Says that a claimed chunk is still being worked on."""
        self._renew(_keys(chunk.job, "leases"), [chunk.number, _CLAIMED_S])

    def renewing(self, chunk: Chunk) -> Callable[[], None]:
        """`renew` for who calls it after each little step: asks Redis once a second at most."""
        renewed_at = -math.inf

        def renew() -> None:
            nonlocal renewed_at
            if time.monotonic() - renewed_at >= _RENEWED_S:
                self.renew(chunk)
                renewed_at = time.monotonic()

        return renew

    def intended(self, chunk: Chunk) -> dict[str, str]:
        """What any run of this chunk so far was about to do: item -> added, updated or removed.

        To be read after looking at what there is: another run, which counts as dead and is not, may be at work.
        """
        intended: dict[str, str] = json.loads(self._redis.hget(f"{_key(chunk.job)}:intents", str(chunk.number)) or "{}")
        return intended

    def note_intent(self, chunk: Chunk, results: Mapping[str, str]) -> None:
        """Notes what is about to happen to the items that change, for the next claim if this one is cut short."""
        if results:
            key = f"{_key(chunk.job)}:intents"
            with self._redis.pipeline() as pipe:
                pipe.hset(key, str(chunk.number), json.dumps(dict(results)))
                pipe.expire(key, KEPT_S)
                pipe.execute()

    def finish(self, chunk: Chunk, counts: Mapping[str, int], failures: Sequence[Failure] = ()) -> bool:
        """Counts a chunk and forgets it. False when it had been counted before.

        `counts` adds to the record's counters; names that are no field of JobStatus show up in its `detail`.
        """
        parts = ("chunks", "leases", "holders", "attempts", "intents", "waits", "failures", "findings")
        keys = [*_keys(chunk.job, *parts), _RUNNING]
        pairs = [part for pair in counts.items() for part in pair]
        texts = [json.dumps(failure.to_json()) for failure in failures]
        args = [chunk.number, chunk.job, len(counts), *pairs, *texts]
        return bool(self._finish(keys, args))

    def collect(self, job: str, findings: Sequence[Message]) -> None:
        """Keeps what a job found; the same finding twice is kept once."""
        if findings:
            key = f"{_key(job)}:findings"
            with self._redis.pipeline() as pipe:
                pipe.sadd(key, *[json.dumps(finding.to_json()) for finding in findings])
                pipe.expire(key, KEPT_S)
                pipe.execute()

    def collected(self, job: str) -> list[dict[str, Any]]:
        """What a job found, in no order."""
        return [json.loads(finding) for finding in self._redis.smembers(f"{_key(job)}:findings")]

    def forget_findings(self, job: str) -> None:
        """Drops what a job found: it has been used."""
        self._redis.delete(f"{_key(job)}:findings")

    def release(self, chunk: Chunk, pause_s: float) -> None:
        """Gives a chunk back that failed; it is due again after the pause."""
        self._release(_keys(chunk.job, "chunks", "leases", "holders"), [chunk.number, pause_s])

    def postpone(self, chunk: Chunk, reason: str) -> float:
        """Gives a chunk back that waits for something; it is due again after a pause that grows, and no attempt counts.

        Returns:
            For how many seconds the job has been waiting without finishing any chunk.
        """
        keys = _keys(chunk.job, "chunks", "leases", "holders", "attempts", "waits")
        return float(self._postpone(keys, [chunk.number, *_WAITS_S, reason]))

    def wait(self, job: str, reason: str) -> float:
        """Says what an externally driven job waits for. Returns for how many seconds it has; `go_on` ends that."""
        key, now = f"{_key(job)}:waits", server_time(self._redis)
        with self._redis.pipeline() as pipe:
            pipe.hsetnx(key, "since", now)
            pipe.expire(key, KEPT_S)
            pipe.hset(_key(job), "waits_for", reason)
            pipe.hget(key, "since")
            since = pipe.execute()[-1]
        return now - float(since)

    def go_on(self, job: str) -> None:
        """Says that a job waits for nothing any more."""
        with self._redis.pipeline() as pipe:
            pipe.delete(f"{_key(job)}:waits")
            pipe.hdel(_key(job), "waits_for")
            pipe.execute()

    def split(self, chunk: Chunk) -> None:
        """Replaces a chunk by chunks of one item each, to find the item that ends its workers."""
        keys = _keys(chunk.job, "chunks", "waiting", "leases", "holders", "attempts", "intents")
        self._split(keys, [chunk.number, *[json.dumps([item]) for item in chunk.items]])

    def end(self, job: str, state: str, detail: Mapping[str, Any] | None = None) -> bool:
        """Ends a job whatever is left of it: `done`, `failed` or `stopped`. One that has ended stays as it ended.

        Returns:
            Whether it was still running.
        """
        keys = [*_keys(job, "failures", "findings"), _RUNNING]
        keys += _keys(job, "chunks", "waiting", "leases", "holders", "attempts", "intents", "waits")[1:]
        return bool(self._end(keys, [job, state, "" if detail is None else json.dumps(dict(detail))]))

    def describe(self, job: str, detail: Mapping[str, Any], **counters: int) -> None:
        """Replaces the job's `detail`, which shows what its kind has to tell, and sets counters."""
        self._redis.hset(_key(job), mapping={"detail": json.dumps(dict(detail)), **counters})

    def seal_abandoned(self, job: str, after_s: float = _ABANDONED_S) -> bool:
        """Seals a job whose filler has been silent: what it appended shall end. `append` opens it again.

        Returns:
            Whether it was.
        """
        return self._close(job, "abandoned", after_s)

    def touch(self, job: str) -> None:
        """Says that the filler of an unsealed job lives."""
        self._redis.hset(_key(job), "touched_at", server_time(self._redis))

    def silent_s(self, job: str) -> float:
        """Seconds since the last `touch`."""
        return server_time(self._redis) - float(self._redis.hget(_key(job), "touched_at") or 0)

    def lock(self, name: str) -> AbstractContextManager[Any]:
        """Held by one process at a time, for ten seconds at most."""
        held: AbstractContextManager[Any] = self._redis.lock(f"lookalike:{name}", timeout=10)
        return held

    def _close(self, job: str, how: str, after_s: float) -> bool:
        return bool(self._seal([*_keys(job, "chunks", "failures", "findings"), _RUNNING], [job, how, after_s]))


_RECORD_FIELDS = {
    *COUNTERS,
    *(
        "kind",
        "state",
        "params",
        "total",
        "done",
        "next",
        "sealed",
        "detail",
        "created_at",
        "touched_at",
        "finished_at",
        "waits_for",
    ),
}


def _extra_counters(fields: Mapping[str, str]) -> dict[str, int]:
    return {name: int(value) for name, value in fields.items() if name not in _RECORD_FIELDS}


def _waits(fields: Mapping[str, str]) -> dict[str, str]:
    return {"waits_for": fields["waits_for"]} if fields.get("waits_for") else {}


def _key(job: str) -> str:
    try:
        return f"lookalike:job:{JobName(job)}"
    except BadName as error:
        raise NotFound(error.message, hint="see: lookalike jobs") from None


def _keys(job: str, *parts: str) -> list[str]:
    return [_key(job), *[f"{_key(job)}:{part}" for part in parts]]
