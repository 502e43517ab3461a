"""What lies around images is found once, and is never told when it is not so any more."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workers.process.neighbourhoods import NEAREST, Neighbourhoods
from workers.store import Payload, Point
from workers.store.edge import EdgeStore

DIM = 8
IDS = [f"{number:032x}" for number in range(40)]


def vector(seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=DIM).astype(np.float32)
    return np.asarray(drawn / np.linalg.norm(drawn), np.float32)


def point(number: int) -> Point:
    return Point(IDS[number], vector(number), Payload(f"{number}.jpg", None))


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
        assert list(each.nearest) == [(hit.id, hit.similarity) for hit in hits] and len(hits) == NEAREST


def test_what_is_remembered_is_not_asked_for_again_and_labels_are_those_of_now(
    store: EdgeStore, asked: list[int]
) -> None:
    remembered = Neighbourhoods(store, lambda: None)
    remembered.of("photos", IDS[:2])
    store.set_payloads("photos", {id: Payload("renamed.jpg", "mug") for id in IDS})
    found = remembered.of("photos", IDS[:3])
    assert asked == [2, 1]
    assert [[label for label, _ in votes] for votes in remembered.votes("photos", found, 5).values()] == 3 * [
        5 * ["mug"]
    ]
    store.set_payloads("photos", {id: Payload("renamed.jpg", "jug") for id in IDS})
    assert {label for each in remembered.votes("photos", found, 5).values() for label, _ in each} == {"jug"}
    store.delete("photos", IDS[3:])
    assert [len(votes) for votes in remembered.votes("photos", found, 24).values()] == [2, 2, 2]


@pytest.mark.parametrize("within", [2.0, 0.7])
def test_the_nearest_with_a_label_are_found_however_many_without_one_lie_between(
    store: EdgeStore, within: float
) -> None:
    store.set_payloads("photos", {IDS[n]: Payload(f"{n}.jpg", f"kind {n % 2}") for n in range(0, 30, 4)})
    remembered = Neighbourhoods(store, lambda: None)
    around = remembered.of("photos", IDS[:6])
    points = store.fetch("photos", IDS)
    found = remembered.votes("photos", around, 3, within=within)
    for id, each in around.items():
        near = [(points[other].payload.label, likeness) for other, likeness in each.nearest if 1 - likeness <= within]
        assert found[id] == [vote for vote in near if vote[0] is not None][:3]


def test_as_few_neighbours_are_read_as_it_takes(store: EdgeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.set_payloads("photos", {id: Payload("", "mug") for id in IDS[:30]})
    remembered = Neighbourhoods(store, lambda: None)
    around = remembered.of("photos", IDS[:2])
    read: list[str] = []
    fetch = store.fetch
    monkeypatch.setattr(store, "fetch", lambda name, ids, **how: (read.extend(ids), fetch(name, ids, **how))[1])
    remembered.votes("photos", around, 3)
    assert sorted(read) == sorted({other for each in around.values() for other, _ in each.nearest[:3]})
    remembered.votes("photos", around, 3)
    assert len(read) == len(set(read)), "labels are remembered, too"
    store.set_payloads("photos", {read[0]: Payload("", "jug")})
    again, read[:] = read[0], []
    remembered.votes("photos", around, 3)
    assert again in read
    assert len(read) < 6, "those of the others stay"


def test_what_comes_is_put_in_and_what_loses_a_neighbour_is_asked_for_anew(store: EdgeStore, asked: list[int]) -> None:
    remembered = Neighbourhoods(store, lambda: None)
    near = remembered.of("photos", IDS[:1])[IDS[0]].nearest[0][0]
    twin = Point(IDS[35], point(0).vector, Payload("twin.jpg", None))
    store.upsert("photos", [twin])
    assert remembered.of("photos", IDS[:1])[IDS[0]].nearest[0][0] == IDS[35]
    assert asked == [1]
    store.delete("photos", [IDS[35]])
    assert remembered.of("photos", IDS[:1])[IDS[0]].nearest[0][0] == near
    assert asked == [1, 1]


def test_after_any_writes_it_tells_what_queries_find(store: EdgeStore) -> None:
    random = np.random.default_rng(0)
    remembered = Neighbourhoods(store, lambda: None)
    for _ in range(30):
        some = [int(number) for number in random.choice(40, 3, replace=False)]
        if random.random() < 0.5:
            store.delete("photos", [IDS[number] for number in some])
        else:
            moved = [replace(point(number), vector=vector(int(random.integers(10**6)))) for number in some]
            store.upsert("photos", moved)
        for id, each in remembered.of("photos", IDS[:20]).items():
            hits = [hit for hit in store.query("photos", each.vector, NEAREST + 1) if hit.id != id][:NEAREST]
            assert [other for other, _ in each.nearest] == [hit.id for hit in hits]
            np.testing.assert_allclose([like for _, like in each.nearest], [hit.similarity for hit in hits], atol=1e-6)


def test_what_is_written_while_it_looks_is_not_missed(
    store: EdgeStore, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    remembered = Neighbourhoods(store, lambda: None)
    query_batch = store.query_batch

    def written_meanwhile(collection: str, queries: Any) -> Any:
        found = query_batch(collection, queries)
        monkeypatch.setattr(store, "query_batch", query_batch)
        store.upsert("photos", [Point(IDS[35], point(0).vector, Payload("twin.jpg", None))])
        return found

    monkeypatch.setattr(store, "query_batch", written_meanwhile)
    remembered.of("photos", IDS[:1])
    assert remembered.of("photos", IDS[:1])[IDS[0]].nearest[0][0] == IDS[35]


def test_where_others_write_it_is_remembered_for_a_while(
    store: EdgeStore, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "written", lambda collection, since: None)
    now = [0.0]
    monkeypatch.setattr("workers.process.neighbourhoods.time.monotonic", lambda: now[0])
    remembered = Neighbourhoods(store, lambda: None)
    for at in (0.0, 29.0, 31.0):
        now[0] = at
        remembered.of("photos", IDS[:1])
    assert asked == [1, 1]
