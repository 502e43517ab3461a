"""Following jobs, whoever started them: how far each is, waiting for its end, stopping it, trying it again."""

import contextlib
import time
from collections.abc import Iterator, Sequence

from ml.errors import LookalikeError
from workers.client.connection import QueueConnection, advice
from workers.client.outage import Lookout
from workers.client.training import Trainings
from workers.errors import Unavailable
from workers.messages import TRAINING_REQUESTS, JobStatus
from workers.queue.jobs import Jobs


class Following:
    """What a Client knows of jobs."""

    connection: QueueConnection
    lookout: Lookout
    jobs: Jobs
    trainings: Trainings

    def job(self, job: str) -> JobStatus:
        """How far a job is. Raises NotFound."""
        with self.connection.errors_reported():
            return self.trainings.status(job) if job.startswith(tuple(TRAINING_REQUESTS)) else self.jobs.status(job)

    def running(self) -> list[JobStatus]:
        """Jobs that have not ended, the longest running first."""
        with self.connection.errors_reported():
            statuses = [self.job(job) for job in self.jobs.running()]
        return sorted(statuses, key=lambda status: -status.seconds)

    def ended(self, kinds: Sequence[str], limit: int = 5) -> list[JobStatus]:
        """The latest jobs of these kinds that have ended, newest first."""
        with self.connection.errors_reported():
            statuses = [status for kind in kinds for status in self.jobs.latest(kind, limit) if status.is_finished]
        return sorted(statuses, key=lambda status: -(status.ended_at or 0))[:limit]

    def ended_lately(self) -> list[JobStatus]:
        """The latest jobs of every kind that have ended, newest first."""
        with self.connection.errors_reported():
            return self.ended(self.jobs.kinds(), limit=20)

    def follow(self, job: str, timeout_s: float | None = None) -> Iterator[JobStatus]:
        """The status again and again, the last one finished. Enqueues what is due: no job depends on one worker.

        Raises:
            Unavailable: no worker has been alive for a while, or the time is over. A portal hears of it in a second.
        """
        started = seen_alive = enqueued = time.monotonic()
        while True:
            with self.connection.errors_reported():
                status = self.jobs.status(job)
            yield status
            if status.is_finished:
                return
            now = time.monotonic()
            if now - enqueued > 1.0:
                with self.connection.errors_reported():
                    seen_alive = now if self.connection.enqueue_due(job) else seen_alive
                    if self.connection.is_interactive:
                        self.lookout.raise_if_nobody_works()
                enqueued = now
            if now - seen_alive > 60:
                hint = f"{advice(self.connection.settings.home, 'worker')}; the job goes on then"
                raise Unavailable("no worker is running", hint=hint)
            if timeout_s is not None and now - started > timeout_s:
                raise Unavailable(f"job {job} is not finished after {timeout_s:.0f} s", hint="it goes on by itself")
            time.sleep(0.05)

    def wait(self, job: str, timeout_s: float | None = None) -> JobStatus:
        """The finished status."""
        *_, last = self.follow(job, timeout_s)
        return last

    def wait_while_somebody_works(self, job: str) -> JobStatus:
        """The finished status; that of now when a portal finds that nobody works: the job goes on by itself."""
        try:
            return self.wait(job)
        except Unavailable:
            if not self.connection.is_interactive:
                raise
        return self.job(job)

    @contextlib.contextmanager
    def stopping(self, job: str) -> Iterator[None]:
        """Ends a job when its block is left by an error or Ctrl-C: nobody waits for it, a next run makes its own."""
        try:
            yield
        except BaseException:
            with contextlib.suppress(LookalikeError):
                self.stop(job)
            raise

    def stop(self, job: str) -> None:
        """Ends a job; what it did stays. Raises NotFound."""
        with self.connection.errors_reported():
            if job.startswith(tuple(TRAINING_REQUESTS)):
                self.trainings.stop(job)
            elif not self.jobs.status(job).is_finished:
                self.jobs.end(job, "stopped")
