"""What a sweep tries: values and ranges of hyper-parameters, from the command line or a TOML file.

lr=1e-3,1e-4           each of these
lr=log:1e-5..1e-2      anything between, evenly on a logarithmic scale
dropout=0..0.5         anything between
epochs=int:4..12       whole numbers between
"""

import dataclasses
import itertools
import math
import random
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml import files
from ml.errors import LookalikeError


class BadSearchSpace(LookalikeError):
    """A search space that names an unknown hyper-parameter, or holds nothing."""


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    values: tuple[Any, ...]

    def sample(self, dice: random.Random) -> Any:
        return dice.choice(self.values)


@dataclass(frozen=True)
class Range:
    """Anything between two numbers, both included."""

    low: float
    high: float
    is_log: bool = False
    is_int: bool = False

    def sample(self, dice: random.Random) -> float | int:
        if self.is_log:
            value = math.exp(dice.uniform(math.log(self.low), math.log(self.high)))
        else:
            value = dice.uniform(self.low, self.high)
        return round(value) if self.is_int else value


def ends(dimension: "Dimension") -> tuple[Any, ...]:
    """Where all of a dimension makes sense if these do: each value of a choice, both ends of a range."""
    if isinstance(dimension, Choice):
        return dimension.values
    bounds = (dimension.low, dimension.high)
    return tuple(map(round, bounds)) if dimension.is_int else bounds


_KINDS = {float: "a number", int: "a whole number", bool: "true or false", str: "a word"}

Dimension = Choice | Range
Space = Mapping[str, Dimension]


def parse(texts: Sequence[str], config: type) -> dict[str, Dimension]:
    """A space from lines such as `lr=1e-3,1e-4`.

    Args:
        texts: one hyper-parameter each.
        config: the dataclass whose fields may be searched; values take their types.

    Raises:
        BadSearchSpace: malformed, unknown or empty.
    """
    space: dict[str, Dimension] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not values.strip():
            raise BadSearchSpace(f"{text!r} names no values", hint="write NAME=VALUE,VALUE or NAME=log:LOW..HIGH")
        if name in space:
            raise BadSearchSpace(f"{name} is given twice", hint="put all of its values behind one =")
        space[name] = _dimension(name, values.strip(), _type_of(name, config))
    return space


def read(file: Path, config: type) -> dict[str, Dimension]:
    """A space from a TOML file: `lr = [1e-3, 1e-4]` or `lr = "log:1e-5..1e-2"`.

    Raises:
        BadSearchSpace: no such file, no TOML, or as for `parse`.
    """
    try:
        table = tomllib.loads(files.read_regular(file).decode())
    except (OSError, ValueError, RecursionError) as error:
        raise BadSearchSpace(f"{file} cannot be read: {error}", hint="for example: lr = [1e-3, 1e-4]") from error
    lines = []
    for name, value in table.items():
        items = value if isinstance(value, list) else [value]
        lines.append(f"{name}={','.join(str(item) for item in items)}")
    if not lines:
        raise BadSearchSpace(f"{file} names no hyper-parameter", hint="for example: lr = [1e-3, 1e-4]")
    return parse(lines, config)


def grid(space: Space) -> Iterator[dict[str, Any]]:
    """Every combination.

    Raises:
        BadSearchSpace: it has a range, which has no end of values.
    """
    for name, dimension in space.items():
        if isinstance(dimension, Range):
            raise BadSearchSpace(f"{name} is a range, a grid needs values", hint="list them, or use --search random")
    names = list(space)
    for values in itertools.product(*(dimension.values for dimension in space.values())):  # type: ignore[union-attr]
        yield dict(zip(names, values, strict=True))


def samples(space: Space, count: int, *, seed: int) -> Iterator[dict[str, Any]]:
    """Random settings, the same for the same seed."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    for _ in range(count):
        yield {name: dimension.sample(dice) for name, dimension in space.items()}


def value(name: str, text: str, config: type) -> Any:
    """The value that a text means for a hyper-parameter.

    Raises:
        BadSearchSpace: there is no such hyper-parameter, or the text is no value of its type.
    """
    return _value(name, text.strip(), _type_of(name, config))


def _hints(config: type) -> dict[str, Any]:
    """Types of a dataclass's fields by name; those of a field that is a dataclass itself as `outer.inner`."""
    hints = {field.name: typing.get_type_hints(config)[field.name] for field in dataclasses.fields(config)}
    for name, hint in list(hints.items()):
        if dataclasses.is_dataclass(hint):
            assert isinstance(hint, type)
            hints |= {f"{name}.{inner}": kind for inner, kind in _hints(hint).items()}
    return hints


def _type_of(name: str, config: type) -> type:
    hints = _hints(config)
    if name not in hints:
        raise BadSearchSpace(f"there is no hyper-parameter {name!r}", hint=f"there are: {', '.join(sorted(hints))}")
    hint = hints[name]
    if isinstance(hint, types.UnionType):
        hint = next(arm for arm in typing.get_args(hint) if arm is not types.NoneType)
    if hint not in (int, float, str, bool):
        raise BadSearchSpace(f"{name} cannot be searched", hint="it is no number, word or switch")
    kind: type = hint
    return kind


def _dimension(name: str, text: str, kind: type) -> Dimension:
    scale, colon, rest = text.partition(":")
    if colon and scale in ("log", "int", "float") and ".." in rest:
        low, high = _bounds(name, rest)
        if scale == "log" and low <= 0:
            raise BadSearchSpace(f"a logarithmic range must start above 0, got {name} from {low}")
        return Range(low, high, is_log=scale == "log", is_int=scale == "int" or kind is int)
    if ".." in text and kind in (int, float):
        low, high = _bounds(name, text)
        return Range(low, high, is_int=kind is int)
    values = tuple(_value(name, item.strip(), kind) for item in text.split(",") if item.strip())
    if not values:
        raise BadSearchSpace(f"{name} has no values", hint="write NAME=VALUE,VALUE")
    return Choice(tuple(dict.fromkeys(values)))


def _bounds(name: str, text: str) -> tuple[float, float]:
    low_text, _, high_text = text.partition("..")
    low, high = _value(name, low_text, float), _value(name, high_text, float)
    if not low < high:
        raise BadSearchSpace(f"a range must have LOW < HIGH, got {name} from {low} to {high}", hint="write LOW..HIGH")
    return low, high


def _value(name: str, text: str, kind: type) -> Any:
    try:
        if kind is bool:
            return {"true": True, "false": False, "yes": True, "no": False}[text.lower()]
        value = kind(text)
    except (ValueError, KeyError):
        example = {float: "0.1", int: "8", bool: "true"}.get(kind, "…")
        raise BadSearchSpace(
            f"{name} must be {_KINDS[kind]}, got {text!r}", hint=f"for example --grid {name}={example}"
        ) from None
    if isinstance(value, float) and not math.isfinite(value):
        raise BadSearchSpace(f"{name} must be finite, got {text!r}")
    return value
