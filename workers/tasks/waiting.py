"""What a job does about an error: wait when it passes, end when it stays."""

import errno
import logging
from collections.abc import Callable

from ml.errors import LookalikeError
from workers.queue.jobs import LONGEST_WAIT_S, Jobs

logger = logging.getLogger(__name__)


# A disk that is full, a network file system that is away, a machine that is short of something for a while.
_PASSING = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN),
    *(errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE),
)


def told(error: Exception) -> LookalikeError:
    """An error that no code of ours expected at this place, as one that knows whether it passes."""
    if isinstance(error, LookalikeError):
        return error
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return LookalikeError(f"{error.strerror or error}{where}", passes=error.errno in _PASSING)
    return LookalikeError(f"{type(error).__name__}: {error}", hint="the worker's log has the details")


def wait_or_fail(jobs: Jobs, job: str, error: LookalikeError, wait: Callable[[str], float]) -> bool:
    """Lets a job wait for what passes (`LookalikeError.passes`), up to a limit; what stays fails it at once.

    Args:
        jobs: holds the record.
        job: its id.
        error: what was met.
        wait: notes what the job waits for, and returns for how many seconds it has.

    Returns:
        Whether the job goes on. It has ended as failed otherwise, with the error as its reason.
    """
    if error.passes:
        waited_s = wait(error.message)
        if waited_s < LONGEST_WAIT_S:
            logger.warning("%s waits, %.0f s so far: %s", job, waited_s, error.message)
            return True
        reason = f"{error.message}, for {waited_s:.0f} s"
    else:
        reason = error.message
    logger.warning("%s has failed: %s", job, reason)
    jobs.end(job, "failed", jobs.status(job).detail | {"reason": reason, "hint": error.hint})
    return False
