"""What lies around images is found once, and is never told when it is not so any more."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workers.process.neighbourhoods import NEAREST, Neighbourhoods
from workers.store import Payload, Point
from workers.store.edge import EdgeStore

DIM = 8
IDS = [f"{number:032x}" for number in range(40)]


def point(number: int, label: str | None = None) -> Point:
    vector = np.random.default_rng(number).normal(size=DIM).astype(np.float32)
    return Point(IDS[number], vector / np.linalg.norm(vector), Payload(f"{number}.jpg", label))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EdgeStore]:
    store = EdgeStore(tmp_path)
    store.ensure("photos", DIM)
    store.upsert("photos", [point(number) for number in range(30)])
    yield store
    store.close()


@pytest.fixture
def asked(store: EdgeStore, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many queries each call of the store was for."""
    counts: list[int] = []
    query_batch = store.query_batch

    def counted(collection: str, queries: Any) -> Any:
        counts.append(len(queries))
        return query_batch(collection, queries)

    monkeypatch.setattr(store, "query_batch", counted)
    return counts


def test_it_gives_what_a_query_finds_without_the_image_itself(store: EdgeStore) -> None:
    found = Neighbourhoods(store, lambda: None).of("photos", [*IDS[:3], IDS[39]])
    assert list(found) == IDS[:3]
    for number, each in enumerate(found.values()):
        np.testing.assert_allclose(each.vector, point(number).vector, atol=1e-6)
        hits = [hit for hit in store.query("photos", each.vector, NEAREST + 1) if hit.id != IDS[number]]
        assert each.hits == hits and len(hits) == NEAREST


def test_what_is_remembered_is_not_asked_for_again_and_labels_are_those_of_now(
    store: EdgeStore, asked: list[int]
) -> None:
    remembered = Neighbourhoods(store, lambda: None)
    remembered.of("photos", IDS[:2])
    store.set_payloads("photos", {id: Payload("renamed.jpg", "mug") for id in IDS})
    found = remembered.of("photos", IDS[:3])
    assert asked == [2, 1]
    assert {hit.payload.label for each in found.values() for hit in each.hits} == {"mug"}


def test_when_a_point_has_come_or_gone_all_is_asked_for_anew(store: EdgeStore, asked: list[int]) -> None:
    remembered = Neighbourhoods(store, lambda: None)
    near = remembered.of("photos", IDS[:1])[IDS[0]].hits[0].id
    twin = Point(IDS[35], point(0).vector, Payload("twin.jpg", None))
    store.upsert("photos", [twin])
    assert remembered.of("photos", IDS[:1])[IDS[0]].hits[0].id == IDS[35]
    store.delete("photos", [IDS[35]])
    assert remembered.of("photos", IDS[:1])[IDS[0]].hits[0].id == near
    assert asked == [1, 1, 1]


def test_where_others_write_it_is_remembered_for_a_while(
    store: EdgeStore, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "version", lambda collection: None)
    now = [0.0]
    monkeypatch.setattr("workers.process.neighbourhoods.time.monotonic", lambda: now[0])
    remembered = Neighbourhoods(store, lambda: None)
    for at in (0.0, 29.0, 31.0):
        now[0] = at
        remembered.find("photos", IDS[:1])
    assert asked == [1, 1]
