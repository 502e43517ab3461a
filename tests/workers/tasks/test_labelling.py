"""Guesses for what has no label, and what a label may be wrong for. Vectors lie around directions of their own."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from workers.messages import GalleryImage
from workers.process.neighbourhoods import Neighbourhoods
from workers.store import Payload, Point
from workers.store.edge import EdgeStore
from workers.tasks.labelling import complete_linkage, guess, outliers, proposals

DIM = 16


def near(axis: int, number: int, away: float = 0.2) -> np.ndarray:
    noise = np.random.default_rng(100 * axis + number).normal(size=DIM)
    vector = np.eye(DIM)[axis] + away * noise / np.linalg.norm(noise)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Any]:
    store = EdgeStore(tmp_path)
    store.ensure("photos", DIM)

    def image(id: str) -> GalleryImage:
        return GalleryImage(id, f"{id}.jpg", f"{id}.jpg", None, 1, 1, "JPEG", 1, 0.0)

    made: Any = SimpleNamespace(
        store=store,
        active=lambda: SimpleNamespace(collection="photos"),
        batcher=SimpleNamespace(yield_to_searches=lambda: None),
        neighbourhoods=Neighbourhoods(store, lambda: None),
        gallery=SimpleNamespace(find_many=lambda ids: {id: image(id) for id in ids}),
    )
    yield made
    store.close()


def add(serving: Any, label: str | None, *vectors: np.ndarray) -> list[str]:
    first = serving.store.count("photos")
    ids = [f"{first + n + 1:032x}" for n in range(len(vectors))]
    points = [
        Point(id, vector, Payload(f"{id}.jpg", label, newest=first + n))
        for n, (id, vector) in enumerate(zip(ids, vectors, strict=True))
    ]
    serving.store.upsert("photos", points)
    return ids


def test_what_has_no_label_is_grouped_with_the_guess_of_its_neighbours_what_teaches_most_first(serving):
    add(serving, "mug", *(near(0, n) for n in range(4)))
    add(serving, "jug", *(near(1, n) for n in range(4)))
    mugs = add(serving, None, *(near(0, n) for n in range(10, 13)))
    strangers = add(serving, None, *(near(5, n) for n in range(2)))
    between = near(0, 20) + near(1, 20)
    (unclear,) = add(serving, None, between / np.linalg.norm(between))
    found = proposals(serving, limit=10)
    assert found.total == 6
    groups = [(each.label, {image.id for image in each.images}) for each in found.groups]
    assert groups[-1] == ("mug", set(mugs))
    assert found.groups[-1].share > 0.95
    assert (None, set(strangers)) in groups[:2]
    assert {unclear} in [ids for _, ids in groups[:2]]
    assert [each.label for each in proposals(serving, limit=1).groups] == [groups[0][0]]
    (second,) = proposals(serving, limit=1, skip=1).groups
    assert second == found.groups[1]
    assert proposals(serving, limit=1, skip=1).count == found.count == 3


def test_a_group_whose_images_are_all_gone_is_passed_over(serving):
    gone = add(serving, None, *(near(0, n) for n in range(3)))
    add(serving, None, near(1, 0))
    find_many = serving.gallery.find_many
    serving.gallery.find_many = lambda ids: find_many([id for id in ids if id not in gone])
    (found,) = proposals(serving, limit=1).groups
    assert len(found.images) == 1


def test_without_any_label_there_are_groups_and_no_guess(serving):
    one, other = (add(serving, None, *(near(axis, n) for n in range(3))) for axis in (0, 1))
    found = proposals(serving, limit=10)
    assert [each.label for each in found.groups] == [None, None]
    assert [{image.id for image in each.images} for each in found.groups] in (
        [set(one), set(other)],
        [set(other), set(one)],
    )


def test_with_nothing_to_label_there_is_nothing(serving):
    add(serving, "mug", near(0, 0))
    assert proposals(serving, limit=10).groups == ()


def test_the_nearer_neighbours_weigh_more():
    said = guess([("mug", 0.9), ("jug", 0.6), ("jug", 0.6)])
    assert (said.label, round(said.share, 2)) == ("mug", 0.91)
    assert guess([]).label is None


def test_what_is_far_from_its_label_or_nearer_to_another_is_an_outlier(serving):
    add(serving, "jug", *(near(1, n) for n in range(4)))
    add(serving, "mug", *(near(0, n) for n in range(20)))
    (wrong,) = add(serving, "mug", near(1, 9))
    (alone,) = add(serving, "mug", near(7, 0))
    found = outliers(serving, label="mug", limit=12)
    assert found.count == 22
    assert {each.image.id: each.like for each in found.outliers} == {wrong: "jug", alone: None}
    assert outliers(serving, label="jug", limit=12).outliers == ()


def test_groups_are_those_of_complete_linkage():
    vectors = np.stack([near(n % 5, n, away=0.9) for n in range(40)])
    distances = 1 - vectors @ vectors.T
    np.fill_diagonal(distances, 0)
    for reach in (0.2, 0.5, 0.9):
        ours = complete_linkage(distances, reach)
        theirs = fcluster(linkage(squareform(distances, checks=False), "complete"), reach, "distance")
        assert len(set(ours)) == len(set(theirs)) == len(set(zip(ours, theirs, strict=True)))
