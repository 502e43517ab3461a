"""Notices a worker that lives but does nothing: a process can hang, or hold a connection that brings no tasks.

A process id says nothing of that, so the watchdog asks a small question through the queue now and then, as a canary.
"""

import logging
import threading
from collections.abc import Callable

from deploy.local.supervisor import ServiceRunner
from ml.errors import LookalikeError
from workers.client import Client, Overloaded

log = logging.getLogger(__name__)

EVERY_S = 20.0
PATIENCE = 4  # unanswered questions in a row, of ten seconds each: two minutes of silence


class Watchdog:
    """Kills a worker that leaves `PATIENCE` questions in a row unanswered; its runner then restarts it.

    Only for a worker that is alone: where there are several, another one would answer.
    """

    def __init__(
        self, client: Client, runner: ServiceRunner, *, every_s: float = EVERY_S, patience: int = PATIENCE
    ) -> None:
        self._ask: Callable[[], object] = client.labels
        self._runner = runner
        self._every_s = every_s
        self._patience = patience
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def close(self) -> None:
        self._closed.set()

    def _watch(self) -> None:
        silent = 0
        process = self._runner.pid
        while not self._closed.wait(self._every_s):
            if (
                self._runner.pid != process or not self._runner.is_ready
            ):  # another process: it starts with a clean slate
                process, silent = self._runner.pid, 0
                continue
            try:
                self._ask()
                silent = 0
            except Overloaded:  # many searches wait: that is work, not silence
                silent = 0
            except LookalikeError:
                silent += 1
            if silent >= self._patience and not self._closed.is_set():
                log.warning("the %s answers nothing; restarting it", self._runner.service.name)
                self._runner.kill()
                silent = 0
