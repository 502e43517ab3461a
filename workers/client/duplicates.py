"""Copies of photos in the gallery: looking for them, and what was found last."""

from ml.images.copies import COPY_FROM
from workers.client.connection import QueueConnection
from workers.messages import JobStatus, Pair
from workers.queue.jobs import PREFIXES

_KIND = "duplicates"


class Duplicates:
    """Pairs of images of one photo, as jobs of workers find them."""

    def __init__(self, connection: QueueConnection) -> None:
        self._connection = connection

    def start(self, score_from: float = COPY_FROM) -> str:
        """Starts a job that looks for copies. Returns its id; `pairs` gives what it found.

        Args:
            score_from: see ml.images.copies.compare.
        """
        return self._connection.start_job(_KIND, {"threshold": score_from}, PREFIXES, chunk_size=1)

    def latest(self) -> JobStatus | None:
        """The job that was started last, running or ended; None when there was none for a week."""
        with self._connection.errors_reported():
            return next(iter(self._connection.jobs.latest(_KIND, 1)), None)

    def pairs(self, job: str) -> list[Pair]:
        """What a job has found so far: the same image first, then by score."""
        with self._connection.errors_reported():
            found = [Pair.from_json(pair) for pair in self._connection.jobs.collected(job)]
        once = {(pair.id, pair.other_id): pair for pair in found}  # both may have found it
        return sorted(
            once.values(), key=lambda pair: (pair.tier != "same-image", -pair.score, pair.path, pair.other_path)
        )
