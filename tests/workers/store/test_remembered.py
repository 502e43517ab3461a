"""Vectors that were read are there until their points change, and no more of them than there is room for."""

import numpy as np

from workers.store import Payload, Stored
from workers.store.remembered import Remembered

_BYTES = 16


def points(ids: str) -> list[Stored]:
    return [Stored(id, Payload(f"{id}.jpg", None), np.ones(4, np.float32)) for id in ids]


def test_it_knows_what_was_read_of_that_collection() -> None:
    remembered = Remembered()
    remembered.keep("one", points("a"), remembered.changes)
    assert remembered.of("one", ["a", "b"]) == {"a": points("a")[0]}
    assert remembered.of("other", ["a"]) == {}


def test_what_has_changed_is_forgotten() -> None:
    remembered = Remembered()
    for collection in ("one", "other"):
        remembered.keep(collection, points("ab"), remembered.changes)
    remembered.forget("one", ["a", "never read"])
    assert list(remembered.of("one", "ab")) == ["b"]
    remembered.forget("one")
    assert not remembered.of("one", "ab") and list(remembered.of("other", "ab")) == ["a", "b"]


def test_what_was_read_before_a_change_and_comes_after_it_is_not_kept() -> None:
    remembered = Remembered()
    before = remembered.changes
    remembered.forget("one", ["a"])
    remembered.keep("one", points("a"), before)
    assert remembered.of("one", ["a"]) == {}


def test_the_first_go_where_there_is_no_more_room() -> None:
    remembered = Remembered(most_bytes=3 * _BYTES)
    for id in "abcd":
        remembered.keep("one", points(id), remembered.changes)
        remembered.keep("one", points(id), remembered.changes)  # once is enough
    assert list(remembered.of("one", "abcd")) == ["b", "c", "d"]
    remembered.forget("one")
    remembered.keep("one", points("efg"), remembered.changes)
    assert list(remembered.of("one", "efg")) == ["e", "f", "g"]
