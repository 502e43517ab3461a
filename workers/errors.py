"""What both sides of the queue raise when a request cannot be served. The whole tree: ml/errors.py."""

from ml.errors import LookalikeError


class Unavailable(LookalikeError):
    """A part of the system does not answer."""


class Overloaded(Unavailable):
    """Too many searches are waiting already; try again in `retry_after_s`."""

    retry_after_s = 2


class Busy(LookalikeError):
    """Something that can happen once at a time is happening."""


class Refused(LookalikeError):
    """What was asked for makes no sense as things are now."""


class NotFound(LookalikeError):
    """An image, job or label that does not exist."""
