"""What both sides of the queue raise when a request cannot be served. The whole tree: ml/errors.py."""

from ml.errors import LookalikeError


class Unavailable(LookalikeError):
    """A part of the system does not answer."""

    passes = True


class Overloaded(Unavailable):
    """Too many searches are waiting already; try again in `retry_after_s`."""

    retry_after_s = 2


class EngineAway(Unavailable):
    """No worker answers. The message says whose photos are safe, too: it is all that a person wants to know."""


class Busy(LookalikeError):
    """Something that can happen once at a time is happening."""


class Refused(LookalikeError):
    """What was asked for makes no sense as things are now."""


class JobEnded(LookalikeError):
    """Work for a job that has ended: somebody stopped it, it failed, or its record is forgotten."""

    def __init__(self, job: str, state: str) -> None:
        how = {"stopped": "was stopped", "failed": "has failed", "done": "is closed"}.get(state, "is forgotten")
        super().__init__(f"the job {job} {how}", hint="run the same command again; it goes on from there")
        self.job, self.state = job, state


class NotFound(LookalikeError):
    """An image, job or label that does not exist."""
