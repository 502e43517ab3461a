"""Whether a gallery's photos help a head is for held-out classes to say: what is held out, and what they may answer."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ml.data.holdout import HeldOut
from ml.model.head import unit_length
from ml.training.tuning_trial import VIEWS, Group, Tried, groups_of, try_schemes, views_of
from ml.tuning.gallery_head import CONFIRMED, FEWEST_PHOTOS, UNLABELLED, Scheme
from ml.tuning.taught import TAUGHT, TAUGHT_BEFORE

CLASSES, EACH, DIM = 12, 12, 32


def photos(noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of classes that differ in half of the directions, with noise in the other half; and their labels."""
    dice = np.random.default_rng(seed)
    labels = np.repeat(np.arange(CLASSES), EACH)
    centres = np.concatenate([dice.normal(size=(CLASSES, DIM // 2)), np.zeros((CLASSES, DIM // 2))], axis=1)
    rows = centres[labels] + 0.2 * dice.normal(size=(len(labels), DIM))
    rows[:, DIM // 2 :] += noise * dice.normal(size=(len(labels), DIM // 2))
    return unit_length(rows.astype(np.float32)), labels


def varied(vectors: np.ndarray, group: Group, directions: slice, by: float) -> torch.Tensor:
    """Views of a group's gallery that differ in some of the directions."""
    dice = np.random.default_rng(1)
    rows = np.tile(vectors[group.gallery], (VIEWS, 1))
    rows[:, directions] += by * dice.normal(size=rows[:, directions].shape).astype(np.float32)
    return torch.from_numpy(unit_length(rows))


def tried(noise: float, directions: slice) -> Tried:
    vectors, labels = photos(noise)
    groups = groups_of(labels, HeldOut(np.zeros(len(labels), bool), "none", ""), is_head_alone=True, seed=0)
    return try_schemes(
        labels, groups, lambda group: (torch.from_numpy(vectors), varied(vectors, group, directions, 0.3))
    )


def test_what_helps_held_out_classes_is_noted_with_what_it_brought() -> None:
    found = tried(noise=1.0, directions=slice(DIM // 2, DIM))
    assert found.scheme is not None
    assert found.figures["map@r"] > found.figures["map@r_before"] + 0.05
    assert found.figures["recall@1"] >= found.figures["recall@1_before"]
    assert Scheme.of({CONFIRMED: found.to_json()}) == found.scheme


def test_what_does_not_help_them_is_left_alone_and_told() -> None:
    found = tried(noise=0.0, directions=slice(0, DIM // 2))  # views vary in what tells classes apart
    assert found.scheme is None and "held-out classes" in found.why
    assert Scheme.of({CONFIRMED: found.to_json()}) == UNLABELLED
    assert Scheme.of({}) == UNLABELLED


def test_a_trained_network_is_asked_about_the_classes_that_it_never_saw() -> None:
    labels = np.repeat(np.arange(10), 20)
    held = HeldOut(np.isin(labels, (3, 4, 7, 9)), "classes", "")
    (group,) = groups_of(labels, held, is_head_alone=False, seed=0)
    assert set(labels[group.gallery]) == set(labels[group.queries]) == {3, 4, 7, 9}
    assert not set(group.gallery) & set(group.queries)
    assert set(group.bystanders) == set(np.flatnonzero(~held.is_held))
    many = np.repeat(np.arange(50), 20)
    (group,) = groups_of(many, HeldOut(many < 5, "classes", ""), is_head_alone=False, seed=0)
    assert len(set(group.bystanders)) == 300 and many[group.bystanders].min() == 5
    of_images = HeldOut(np.arange(200) % 5 == 0, "images", "")
    assert groups_of(labels, of_images, is_head_alone=False, seed=0) == []  # each class was seen


@pytest.mark.parametrize("classes, each, folds", [(40, 20, 3), (20, 20, 4), (8, 20, 2), (4, 10, 0)])
def test_of_a_head_alone_every_class_may_be_held_out_in_folds_as_large_as_galleries(
    classes: int, each: int, folds: int
) -> None:
    labels = np.repeat(np.arange(classes), each)
    groups = groups_of(labels, HeldOut(np.zeros(len(labels), bool), "none", ""), is_head_alone=True, seed=0)
    assert len(groups) == folds
    assert all(len(group.gallery) >= FEWEST_PHOTOS for group in groups)
    seen = [set(labels[group.gallery]) for group in groups]
    assert sum(map(len, seen)) == len(set().union(*seen))


def twins(seed: int = 0) -> tuple[np.ndarray, np.ndarray, HeldOut]:
    """Each held-out class is far from the others, and close to one that was taught; noise in half of the directions."""
    dice = np.random.default_rng(seed)
    labels = np.repeat(np.arange(CLASSES), EACH)
    taught = 3 * dice.normal(size=(CLASSES // 2, DIM // 2))
    centres = np.concatenate([taught, taught + 0.4 * dice.normal(size=taught.shape)])
    rows = np.zeros((len(labels), DIM))
    rows[:, : DIM // 2] = centres[labels] + 0.1 * dice.normal(size=(len(labels), DIM // 2))
    rows[:, DIM // 2 :] = dice.normal(size=(len(labels), DIM // 2))
    return unit_length(rows.astype(np.float32)), labels, HeldOut(labels >= CLASSES // 2, "classes", "")


@pytest.mark.parametrize("directions, helps", [(slice(DIM // 2, DIM), True), (slice(0, DIM // 2), False)])
def test_classes_that_a_network_tells_apart_without_a_fault_are_asked_among_those_that_it_was_taught(
    directions: slice, helps: bool
) -> None:
    vectors, labels, held = twins()
    (group,) = groups_of(labels, held, is_head_alone=False, seed=0)

    def embed(group: Group) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(vectors), varied(vectors, group, directions, 0.3)

    alone = try_schemes(labels, [replace(group, bystanders=np.empty(0, np.int64))], embed)
    assert alone.scheme is None and alone.figures["map@r_before"] > 0.995  # nothing to gain
    among = try_schemes(labels, [group], embed)
    assert among.figures["map@r_before"] < 0.9
    assert (among.scheme is not None) == helps
    # What those that were taught lose by it is noted: something, where views vary in what tells classes apart.
    assert TAUGHT not in alone.figures
    lost = among.figures[TAUGHT_BEFORE] - among.figures[TAUGHT]
    assert lost == 0 if helps else lost > 0.001


def test_too_few_photos_tell_nothing() -> None:
    found = try_schemes(np.zeros(4, np.int64), [], lambda _: pytest.fail("nothing is embedded"))
    assert found.scheme is None and "no 30 photos" in found.why


def test_views_are_drawn_of_the_gallery_alone_one_of_each_photo_after_another() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (6, 16, 16, 3), dtype=np.uint8)
    (drawn,) = views_of(pixels, [Group(np.array([0, 2, 4]), np.array([1, 3, 5]))])
    assert drawn.shape == (VIEWS * 3, 16, 16, 3)
    (again,) = views_of(pixels, [Group(np.array([2]), np.array([1]))])
    assert np.array_equal(drawn[1::3], again)
