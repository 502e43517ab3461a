"""Names of collections, models, runs and jobs: one checked type, because each becomes part of a path somewhere.

Wherever a name comes from outside (a file, a request, the command line, Redis, an archive), the text is made a name
first. What is a name cannot lead out of the folder that it is looked up in, on any system, nor be taken for an option.
"""

import re
from typing import ClassVar, Self

from ml.errors import LookalikeError

# Letters and digits of every alphabet. A name begins with one, so that it is neither hidden, nor `..`, nor an option.
_NAME = re.compile(r"[^\W_](?:[\w.+-]*[\w+-])?")


class BadName(LookalikeError):
    """A text that is to be a name, and is none."""


class Name(str):
    """A text that can be a file's name, and nothing but one. The subclasses say what is named."""

    __slots__ = ()
    what: ClassVar = "thing"
    longest: ClassVar = 200  # bytes; file systems take 255
    reserved: ClassVar[frozenset[str]] = frozenset()  # files that lie beside what is named

    def __new__(cls, text: object) -> Self:
        """The text as a name.

        Raises:
            BadName: it is no text, or holds what no name may hold.
        """
        if type(text) is cls:
            return text
        if not isinstance(text, str) or not _NAME.fullmatch(text) or text in cls.reserved:
            raise BadName(f"{_shown(text)} is not the name of a {cls.what}", hint="names have letters, digits and .+-_")
        if len(text.encode()) > cls.longest:
            raise BadName(f"{_shown(text)} is too long for the name of a {cls.what}: {cls.longest} bytes at most")
        return super().__new__(cls, text)


MODEL_JSON = "model.json"  # in the folder of a model: what it is


class ModelName(Name):
    """Of a model in the registry, and of its folder there."""

    what = "model"
    longest = 128
    reserved = frozenset(("active.json", "history.json", "building.json", "calibrations"))


class CollectionName(Name):
    """Of a collection of vectors, and of its folder."""

    what = "collection"


class RunName(Name):
    """Of a training run or a sweep, and of its folder."""

    what = "run"


class JobName(Name):
    """Of a job, part of its keys in Redis and of its log's name."""

    what = "job"


def _shown(text: object) -> str:
    shown = ascii(text) if isinstance(text, str) else type(text).__name__
    return shown if len(shown) <= 80 else f"{shown[:80]}…"
