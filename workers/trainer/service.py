"""The training service: takes trainings and sweeps from the queue, one at a time, and runs each as a child process.

`python -m workers.trainer.service`, or `lookalike trainer`. So the portal trains where it has no PyTorch, as in
containers, without anybody running what a stranger sends: what crosses the queue is a job's name, and its record holds
a request of ours. Jobs that wait have a heartbeat from here. A run's log goes to <home>/runs/logs and to stdout.
"""

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from types import FrameType
from typing import Any

import redis

from ml.errors import LookalikeError
from workers import logs
from workers import settings as settings_module
from workers.client.training import Trainings
from workers.errors import NotFound
from workers.life_sign import LifeSign
from workers.queue import training_queue
from workers.queue.app import connect_redis
from workers.queue.jobs import Jobs
from workers.settings import BadSettings, Settings

logger = logging.getLogger(__name__)

_TAKEN_S = 1.0
_STOPPED_S = 20.0  # a run that is told to stop keeps the epochs that have ended
_AWAY_S = 1.0


class TrainingService:
    """Runs what waits, until it is told to stop."""

    def __init__(self, settings: Settings, server: Any) -> None:
        self._redis = server
        self._jobs = Jobs(server)
        self._trainings = Trainings(settings, self._jobs)
        self._stopping = threading.Event()
        self._running: tuple[str, subprocess.Popen[bytes]] | None = None

    def stop(self) -> None:
        """Makes `run` return soon. A run that is under way ends as by Ctrl-C, and `--resume` goes on with it."""
        self._stopping.set()
        if self._running:
            with contextlib.suppress(ProcessLookupError):
                self._running[1].send_signal(signal.SIGINT)

    def run(self) -> None:
        """Takes jobs until `stop`. While the queue is away it waits."""
        beating = threading.Thread(target=self._beat, name="trainer-heartbeat", daemon=True)
        beating.start()
        while not self._stopping.is_set():
            try:
                job = training_queue.take(self._redis, _TAKEN_S)
                if job is not None:
                    self._perform(job)
            except redis.RedisError as error:
                logger.warning("the queue does not answer: %s", error)
                self._stopping.wait(_AWAY_S)
        beating.join()
        with contextlib.suppress(redis.RedisError):
            training_queue.forget_trainer(self._redis)

    def _perform(self, job: str) -> None:
        try:
            if self._jobs.status(job).is_finished:  # somebody stopped it while it waited
                return
        except NotFound:
            return
        logger.info("%s begins", job)
        process = self._trainings.spawn(job)
        self._running = job, process
        if self._stopping.is_set():
            process.send_signal(signal.SIGINT)
        try:
            ending = threading.Thread(target=self._end_in_time, args=(process,), daemon=True)
            ending.start()
            self._trainings.watch(job, process)
        finally:
            self._running = None
        with self._trainings.log(job).open("rb") as log:
            shutil.copyfileobj(log, sys.stdout.buffer)
            sys.stdout.flush()
        logger.info("%s has ended with %s", job, process.returncode)

    def _end_in_time(self, process: "subprocess.Popen[bytes]") -> None:
        """Kills a run that does not end when it is told to."""
        while process.poll() is None:
            if self._stopping.wait(1.0):
                try:
                    process.wait(_STOPPED_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                return

    def _beat(self) -> None:
        while not self._stopping.is_set():
            try:
                training_queue.record_trainer(self._redis)
                for job in training_queue.waiting(self._redis):
                    self._jobs.touch(job)
            except redis.RedisError as error:
                logger.warning("the queue does not answer: %s", error)
            self._stopping.wait(training_queue.BEAT_S)


def main() -> int:
    """Runs the service until SIGTERM or SIGINT. Returns the exit status."""
    try:
        settings = settings_module.load()
        logs.configure(settings)
        if not settings.redis_url:
            raise BadSettings("LOOKALIKE_REDIS_URL is not set", hint="the portal's queue is where trainings come from")
    except LookalikeError as error:
        sys.stderr.write(f"lookalike trainer: {error}\n")
        return 1
    life_sign = LifeSign(settings.home)
    service = TrainingService(settings, connect_redis(settings))

    def end(_number: int, _frame: FrameType | None) -> None:
        service.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    logger.info("waiting for trainings (process %d)", os.getpid())
    service.run()
    life_sign.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
