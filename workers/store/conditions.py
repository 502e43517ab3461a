"""A selection of images as conditions on payloads, for both engines: what is indexed, and what is asked of it."""

from collections.abc import Iterator
from dataclasses import dataclass

from workers.messages import Selection
from workers.store import microseconds

KEYWORDS = ("label", "folder")
NUMBERS = ("newest", "taken")
WORDS = "words"


@dataclass(frozen=True)
class Condition:
    """One thing that has to be true of a field: it is the value, has the words, is in the range, or is missing."""

    key: str
    value: str | None = None
    words: str | None = None
    at_least: int | None = None
    below: int | None = None
    is_missing: bool = False


def conditions(selection: Selection) -> Iterator[Condition]:
    """All that have to be true."""
    if selection.label is not None:
        yield Condition("label", value=selection.label)
    if selection.unlabelled:
        yield Condition("label", is_missing=True)
    if selection.folder is not None:
        yield Condition("folder", value=selection.folder)
    for word in (selection.text or "").casefold().split():
        yield Condition(WORDS, words=word)
    yield from _in_range("newest", *map(_number, (selection.added_from, selection.added_before)))
    yield from _in_range("taken", *map(_second, (selection.taken_from, selection.taken_before)))


def _in_range(key: str, at_least: int | None, below: int | None) -> Iterator[Condition]:
    if at_least is not None or below is not None:
        yield Condition(key, at_least=at_least, below=below)


def _number(at_s: float | None) -> int | None:
    return None if at_s is None else microseconds(at_s)


def _second(at_s: float | None) -> int | None:
    return None if at_s is None else int(at_s)
