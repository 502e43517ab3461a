"""Copies of photos in the gallery: looking for them, and what was found last."""

import itertools
from collections.abc import Sequence

from ml.images.likeness import COPY_FROM
from workers.answers import Answers
from workers.client.connection import QueueConnection
from workers.errors import Busy
from workers.messages import JobStatus, Pair
from workers.queue.jobs import PREFIXES

_KIND = "duplicates"


class Duplicates:
    """Pairs of images of one photo, as jobs of workers find them.

    Args:
        connection: leads to the queue.
        apart: which pairs a person said are no duplicates; they are found no more.
    """

    def __init__(self, connection: QueueConnection, apart: Answers) -> None:
        self._connection = connection
        self._apart = apart

    def start(self, score_from: float = COPY_FROM) -> str:
        """Starts a job that looks for copies, unless one runs. Returns its id; `pairs` gives what it found.

        One at a time: each reads the whole gallery, and many of them would leave no time for new photos.

        Args:
            score_from: see ml.images.copies.compare.

        Raises:
            Busy: one runs that takes other photos for copies.
        """
        latest = self.latest()
        if latest is not None and not latest.is_finished:
            with self._connection.errors_reported():
                if self._connection.jobs.params(latest.job).get("threshold") == score_from:
                    return latest.job
            raise Busy(
                f"copies with another threshold are being looked for: job {latest.job}",
                hint=f"wait for it, or: lookalike jobs stop {latest.job}",
            )
        return self._connection.start_job(_KIND, {"threshold": score_from}, PREFIXES, chunk_size=1)

    def latest(self) -> JobStatus | None:
        """The job that was started last, running or ended; None when there was none for a week."""
        with self._connection.errors_reported():
            return next(iter(self._connection.jobs.latest(_KIND, 1)), None)

    def keep_apart(self, ids: Sequence[str], *, are_apart: bool = True) -> None:
        """Notes that images are no duplicates of each other, or takes that back.

        Raises:
            ValueError: they are no ids.
        """
        self._apart.give_all(itertools.combinations(dict.fromkeys(ids), 2), True if are_apart else None)

    def pairs(self, job: str) -> list[Pair]:
        """What a job has found so far: the same image first, then by score."""
        with self._connection.errors_reported():
            found = [Pair.from_json(pair) for pair in self._connection.jobs.collected(job)]
        apart = {answer.pair for answer in self._apart.all()}
        once = {(pair.id, pair.other_id): pair for pair in found}  # both may have found it
        for pair in apart & once.keys():
            del once[pair]
        return sorted(
            once.values(), key=lambda pair: (pair.tier != "same-image", -pair.score, pair.path, pair.other_path)
        )
