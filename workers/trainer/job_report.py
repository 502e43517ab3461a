"""A run's report into its job record, and the record's end.

A thread writes a heartbeat while the run goes on. When someone ends the record, the run is interrupted as by Ctrl-C; so
it is when the queue stays away, because nobody could know of the run any more.
"""

import contextlib
import logging
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import redis

from ml.errors import LookalikeError
from workers.client.training import SILENT_S
from workers.queue.jobs import Jobs
from workers.trainer.report import Report

if TYPE_CHECKING:
    from ml.sweeps.plan import SweepPlan
    from ml.sweeps.record import Record
    from ml.training.finetune import EpochReport

logger = logging.getLogger(__name__)

_BEAT_S = 2.0
_POINTS = 100  # of a curve in a record
_LISTED = 10  # best settings in a record
_COUNTED_S = 1.0  # between two counts of a phase


class JobReport(Report):
    """Puts what it is given into a job record, and lines that people want to keep into the log."""

    def __init__(self, jobs: Jobs, job: str) -> None:
        self._jobs, self._job = jobs, job
        self.detail: dict[str, Any] = {"phase": "reading", "host": socket.gethostname(), "pid": os.getpid()}
        self._curve: list[dict[str, float | None]] = []
        self._counted_at = time.monotonic()
        self.update()

    def progress(self, phase: str, done: int, total: int) -> None:
        if phase != self.detail["phase"] or time.monotonic() - self._counted_at >= _COUNTED_S:
            self._counted_at = time.monotonic()
            self.update(phase=phase, counted=[done, total])

    def step(self, line: str) -> None:
        logger.info(line)
        self.update(phase=line, counted=None)

    def say(self, line: str) -> None:
        logger.info(line)

    def epoch(self, epoch: "EpochReport") -> None:
        held_out, loss = (None if math.isnan(each) else each for each in (epoch.map_at_r, epoch.loss))
        self._curve.append({"epoch": epoch.epoch, "loss": loss, "held_out_map@r": held_out})
        rest = {"held_out_map@r": held_out, "seconds_left": round(epoch.seconds_left)}
        self.update(epoch.epoch, epoch.epochs, phase="training", counted=None, curve=_thinned(self._curve), **rest)

    def registered(self, model: str) -> None:
        self.update(model=model)

    def trials(self, record: "Record", plan: "SweepPlan") -> None:
        done = sum(t.state != "running" and not record.is_measurement(t) for t in record.trials.values())
        ranked = [configuration for configuration in record.configurations() if configuration.is_complete]
        best = {"settings": ranked[0].settings, "map@r": ranked[0].map_at_r} if ranked else None
        table = [{"settings": each.settings, "map@r": each.map_at_r} for each in ranked[:_LISTED]]
        facts = {"phase": "trials", "counted": None, "sweep": record.directory.name, "best": best, "ranking": table}
        self.update(done, plan.trials * plan.repeats, **facts)

    def update(self, done: int | None = None, total: int | None = None, **facts: Any) -> None:
        """Adds facts to the record's detail, and sets how far it is. A queue that is away is no reason to stop."""
        self.detail |= facts
        counters = {name: count for name, count in (("done", done), ("total", total)) if count is not None}
        try:
            if not self._jobs.status(self._job).is_finished:
                self._jobs.describe(self._job, self.detail, **counters)
        except redis.RedisError as error:
            logger.warning("the job record cannot be written: %s", error)


@contextlib.contextmanager
def reporting_to(jobs: Jobs, job: str, *, ends_unheard: bool = True) -> Iterator[JobReport]:
    """The report of a run that goes on in this block. The record ends with it: done, failed, or stopped.

    Args:
        jobs: where the record is.
        job: its id.
        ends_unheard: whether a queue that stays away interrupts the run, as nobody could know of it any more; a run
            in a terminal has somebody who does.

    Raises:
        KeyboardInterrupt: in the block, when the record was ended or the queue stays away.
    """
    ended = threading.Event()

    def beat() -> None:
        heard_at = time.monotonic()
        while not ended.wait(_BEAT_S):
            try:
                jobs.touch(job)
                goes_on = not jobs.status(job).is_finished
                heard_at = time.monotonic()
            except redis.RedisError:
                goes_on = not ends_unheard or time.monotonic() - heard_at < SILENT_S
            if not goes_on and not ended.is_set():
                os.kill(os.getpid(), signal.SIGINT)
                return

    def end(state: str, **facts: Any) -> None:
        """Ends the record, once nobody watches it: that it has ended is no reason to interrupt this run then."""
        ended.set()
        beating.join()
        try:
            jobs.end(job, state, report.detail | facts)
        except redis.RedisError as error:
            logger.warning("the job record cannot be closed: %s", error)

    jobs.touch(job)
    report = JobReport(jobs, job)
    beating = threading.Thread(target=beat, name="job-record", daemon=True)
    beating.start()
    try:
        yield report
    except KeyboardInterrupt:
        end("stopped")
        raise
    except BaseException as error:
        end("failed", reason=error.message if isinstance(error, LookalikeError) else f"{type(error).__name__}: {error}")
        raise
    else:
        end("done")


def _thinned(curve: list[dict[str, float | None]]) -> list[dict[str, float | None]]:
    """A curve of at most so many points, the last one among them."""
    step = -(-len(curve) // _POINTS)
    return curve[::-1][::step][::-1]
