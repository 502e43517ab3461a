"""Small JSON files of our own: read through one check, written with a checksum where they can hold one.

A file that was cut short, emptied, overwritten or flipped in a bit is `Damaged`, whoever reads it. Who can do without
it tells a `DamageLog`, so that people hear of it and `lookalike verify --repair` finds it.
"""

import hashlib
import json
from collections.abc import Callable, Collection
from typing import Any, Protocol, TypeVar

from ml.errors import LookalikeError
from ml.storage import Storage

T = TypeVar("T")

_CHECKSUM = "checksum"
REPAIR = "lookalike verify --repair mends what can be mended"


class Damaged(LookalikeError):
    """Something stored is not what was written, or is gone. `key` says which file of the storage it is."""

    def __init__(self, message: str, *, hint: str = REPAIR, key: str = "") -> None:
        super().__init__(message, hint=hint)
        self.key = key


class DamageLog(Protocol):
    """Where readers say what they found damaged, and writers what is whole again."""

    def found(self, damaged: Damaged) -> None: ...

    def mended(self, key: str) -> None: ...

    def known(self) -> Collection[str]:
        """What was found and not yet mended."""


class Unlogged:
    """A `DamageLog` for tools and tests that have nobody to tell."""

    def found(self, damaged: Damaged) -> None: ...

    def mended(self, key: str) -> None: ...

    def known(self) -> Collection[str]:
        return ()


def read(storage: Storage, key: str, parse: Callable[[Any], T], *, name: str = "") -> T:
    """The value that was written.

    Args:
        storage: where it is kept.
        key: of the file.
        parse: makes the value of plain JSON types. It raises ValueError, TypeError, KeyError or a LookalikeError when
            they are not what a writer of this file writes.
        name: what people know the file as; its key if empty.

    Raises:
        FileNotFoundError: nothing was written, or the file was removed.
        Damaged: what is there is not what was written.
    """
    data = storage.get(key)
    name = name or key
    try:
        value = json.loads(data)
        if isinstance(value, dict) and _CHECKSUM in value and value[_CHECKSUM] != checksum(value):
            raise ValueError("it is not what was written")
        return parse(value)
    except KeyError as error:
        reason = f"it lacks {error.args[0]!r}"
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        reason = "it is empty" if not data.strip() else "it is cut short or overwritten"
    except LookalikeError as error:
        reason = error.message
    except (ValueError, TypeError, AttributeError) as error:
        reason = str(error)
    raise Damaged(f"{name} is damaged: {reason}", key=name)


def write(storage: Storage, key: str, value: dict[str, Any], *, indent: int | None = None) -> None:
    """Writes or replaces a record, with a checksum of what it says."""
    sealed = value | {_CHECKSUM: checksum(value)}
    storage.put(key, json.dumps(sealed, indent=indent).encode())


def checksum(value: dict[str, Any]) -> str:
    """The first 16 hex digits of the SHA-256 of everything that a record says but its checksum."""
    facts = {name: fact for name, fact in value.items() if name != _CHECKSUM}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
