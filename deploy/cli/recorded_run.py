"""A training in a terminal, among the jobs of the system that runs: the portal shows it, and can stop it."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from deploy.local.connection import running
from ml.errors import LookalikeError
from workers.client import Client
from workers.messages import SweepRequest, TrainRequest
from workers.settings import Settings
from workers.trainer.job_report import JobReport, reporting_to
from workers.trainer.report import Report

if TYPE_CHECKING:
    from ml.sweeps.plan import SweepPlan
    from ml.sweeps.record import Record
    from ml.training.finetune import EpochReport


class _Both(Report):
    """Tells two reports the same."""

    def __init__(self, shown: Report, recorded: JobReport) -> None:
        self._all = (shown, recorded)

    def progress(self, phase: str, done: int, total: int) -> None:
        for each in self._all:
            each.progress(phase, done, total)

    def step(self, line: str) -> None:
        for each in self._all:
            each.step(line)

    def say(self, line: str) -> None:
        for each in self._all:
            each.say(line)

    def epoch(self, epoch: "EpochReport") -> None:
        for each in self._all:
            each.epoch(epoch)

    def registered(self, model: str) -> None:
        for each in self._all:
            each.registered(model)

    def trials(self, record: "Record", plan: "SweepPlan") -> None:
        for each in self._all:
            each.trials(record, plan)


@contextlib.contextmanager
def recorded(settings: Settings, request: TrainRequest | SweepRequest, shown: Report) -> Iterator[Report]:
    """The report of a run in this block: `shown`, and a job record where a system runs. Otherwise `shown` alone.

    Raises:
        KeyboardInterrupt: in the block, when somebody stopped the job.
    """
    redis_url = settings.redis_url or getattr(running(settings), "redis_url", "")
    job = None
    if redis_url:
        client = Client(dataclasses.replace(settings, redis_url=redis_url), is_interactive=True)
        with contextlib.suppress(LookalikeError), client.connection.errors_reported():
            if other := client.trainings.under_way():
                shown.say(f"note: another training is under way ({other}); both are slower")
            job = client.jobs.create(request.kind, request.to_json(), externally_driven=True)
    if job is None:
        yield shown
        return
    with reporting_to(client.jobs, job, ends_unheard=False) as record:
        yield _Both(shown, record)
