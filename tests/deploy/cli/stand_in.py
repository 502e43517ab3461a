"""A client without a queue: what is handed over to an index job counts as indexed."""

from collections.abc import Iterator
from contextlib import contextmanager

from workers.messages import Failure, JobStatus

DONE = JobStatus(job="index-1", kind="index", state="done", total=0, done=0, added=0, unchanged=0, failed=0, seconds=1)


class StandInJob:
    """What an index job was given."""

    job = DONE.job

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.failures: list[Failure] = []
        self.is_closed = False

    def append(self, id: str) -> None:
        self.ids.append(id)

    def fail(self, path: str, reason: str) -> None:
        self.failures.append(Failure(path, reason))


class StandInClient:
    """Its jobs are done when they are closed; `filled` is the latest."""

    def __init__(self) -> None:
        self.filled = StandInJob()

    @contextmanager
    def indexing(self) -> Iterator[StandInJob]:
        self.filled = StandInJob()
        try:
            yield self.filled
        finally:
            self.filled.is_closed = True

    @contextmanager
    def stopping(self, job: str) -> Iterator[None]:
        yield

    def job(self, job: str) -> JobStatus:
        return DONE

    def follow(self, job: str) -> Iterator[JobStatus]:
        yield DONE
