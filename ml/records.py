"""Small JSON files of our own: read through one check, written with a checksum where they can hold one.

A file that was cut short, emptied, overwritten or flipped in a bit is `Damaged`, whoever reads it. Who can do without
it tells a `DamageLog`, so that people hear of it and `lookalike verify --repair` finds it.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Collection
from typing import Annotated, Any, NoReturn, Protocol, TypeVar

import msgspec
from msgspec import Meta

from ml.errors import LookalikeError
from ml.names import BadName, Name
from ml.storage import Storage

T = TypeVar("T")

_CHECKSUM = "checksum"

# Types of fields, for the dataclasses that `typed` makes.
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Text = Annotated[str, Meta(max_length=16_384)]  # the longest path is a quarter of it
Count = Annotated[int, Meta(ge=0, le=2**53)]
Moment = Annotated[float, Meta(ge=0, le=253_402_300_799)]  # seconds since 1970, up to the year 9999
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
    return decoded(storage.get(key), parse, name=name or key)


def decoded(data: bytes, parse: Callable[[Any], T], *, name: str) -> T:
    """The value that some bytes hold, which `read` would give. Raises Damaged."""
    try:
        value = loads(data)
        if isinstance(value, dict) and _CHECKSUM in value and value[_CHECKSUM] != checksum(value):
            raise ValueError("it is not what was written")
        return parse(value)
    except KeyError as error:
        reason = f"it lacks {error.args[0]!r}"
    except (UnicodeDecodeError, json.JSONDecodeError):
        reason = "it is empty" if not data.strip() else "it is cut short or overwritten"
    except LookalikeError as error:
        reason = error.message
    except (ValueError, TypeError, AttributeError) as error:
        reason = str(error)
    raise Damaged(f"{name} is damaged: {reason}", key=name)


def loads(data: bytes | str, *, nan: Callable[[str], Any] | None = None) -> Any:
    """JSON from elsewhere, as plain types.

    Args:
        data: UTF-8.
        nan: makes a value of NaN and the infinities, which are no JSON and are refused without it.

    Raises:
        ValueError: it is no JSON, nested too deep, or holds a number or a text that is none. One line says which.
    """
    text = data if isinstance(data, str) else data.decode()
    try:
        value = json.loads(text, parse_constant=nan or _refuse_number, parse_float=_finite)
        if _SURROGATE.search(text):
            # File systems' names that are no UTF-8 stand in records as PEP 383 has it.
            json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogateescape")
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except UnicodeEncodeError:
        raise ValueError("a text holds half of a surrogate pair") from None
    except json.JSONDecodeError:
        raise
    except ValueError as error:  # Python reads no integer of more than 4,300 digits: that takes quadratic time
        raise ValueError("a number has too many digits" if "digits" in str(error) else str(error)) from None
    return value


def check_text(*texts: str | None) -> None:
    """Whether texts can be shown. Raises ValueError for one that holds half of a surrogate pair."""
    try:
        "".join(text for text in texts if text).encode()
    except UnicodeEncodeError:
        raise ValueError("a text holds half of a surrogate pair") from None


def dumps(value: Any, *, indent: int | None = None) -> str:
    """JSON that `loads` reads: what is no number is null."""
    return json.dumps(_without_nan(value), indent=indent, allow_nan=False)


def typed(kind: type[T], value: Any) -> T:
    """A dataclass of plain JSON types, each field of the type that it states. Unknown members are passed over.

    Raises:
        ValueError: a field is missing, or of another type. One line says which.
    """
    try:
        return msgspec.convert(value, kind, dec_hook=_name)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$")
        raise ValueError(f"{place.strip('`.')}: {_readable(reason)}" if place else _readable(reason)) from None


def all_typed(kind: type[T], values: Any) -> list[T]:
    """The same of a list. Raises ValueError."""
    return [typed(kind, value) for value in typed(list[Any], values)]


def write(storage: Storage, key: str, value: dict[str, Any], *, indent: int | None = None) -> None:
    """Writes or replaces a record, with a checksum of what it says."""
    sealed = value | {_CHECKSUM: checksum(value)}
    storage.put(key, json.dumps(sealed, indent=indent).encode())


def keep_later(
    storage: Storage, key: str, data: bytes, parse: Callable[[Any], T], moment: Callable[[T], float]
) -> None:
    """Takes a record of another copy of the storage: of two the later one stays, of two as late the one that is here.

    Args:
        storage: where it is kept.
        key: of the file.
        data: the other copy's.
        parse: see `read`.
        moment: when a record was made.

    Raises:
        Damaged: the data are no record.
    """
    theirs = moment(decoded(data, parse, name=key))
    try:
        is_later = moment(read(storage, key, parse)) >= theirs
    except (Damaged, FileNotFoundError):
        is_later = False
    if not is_later:
        storage.put(key, data)


def checksum(value: dict[str, Any]) -> str:
    """The first 16 hex digits of the SHA-256 of everything that a record says but its checksum."""
    facts = {name: fact for name, fact in value.items() if name != _CHECKSUM}
    return hashlib.sha256(_in_order(facts).encode()).hexdigest()[:16]


_in_order = json.JSONEncoder(sort_keys=True).encode
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def _refuse_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("a number is too large")
    return value


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _name(kind: type, value: Any) -> Any:
    if not issubclass(kind, Name):
        raise NotImplementedError(f"records hold no {kind}")
    try:
        return kind(value)
    except BadName as error:
        raise ValueError(error.message) from None


def _readable(reason: str) -> str:
    """`Object missing required field `k`` -> it lacks 'k'."""
    if missing := re.fullmatch(r"Object missing required field `(.+)`", reason):
        return f"it lacks {missing[1]!r}"
    return (reason[:1].lower() + reason[1:]).replace("`", "")
