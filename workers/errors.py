"""What the client's side raises when the system cannot do what it was asked for. The whole tree: ml/errors.py."""

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
