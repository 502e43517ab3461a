"""Classes from labels and answers."""

import itertools
from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from ml.data.same_pairs import classes_of


def test_what_is_the_same_as_a_labelled_image_has_its_label_through_any_number_of_pairs():
    classes = classes_of({"a": "mug"}, [("b", "c", True), ("c", "d", True), ("a", "b", True)])
    assert classes.labels == dict.fromkeys("abcd", "mug")
    assert (classes.joined, classes.contradictions) == (3, 0)


def test_images_without_a_label_that_are_the_same_are_a_class_of_their_own():
    classes = classes_of({"a": "mug"}, [("c", "b", True), ("d", "e", False)])
    assert classes.labels == {"a": "mug", "b": "like b", "c": "like b"}


def test_labels_count_more_than_answers():
    classes = classes_of({"a": "mug", "b": "jug", "c": "mug"}, [("a", "b", True), ("a", "c", False)])
    assert classes.labels == {"a": "mug", "b": "jug", "c": "mug"}
    assert classes.contradictions == 2


def test_what_is_not_the_same_is_kept_apart_also_through_others():
    said = [("a", "z", False), ("a", "b", True), ("y", "z", True), ("b", "y", True)]
    classes = classes_of({}, said)
    assert classes.labels == {"a": "like a", "b": "like a", "y": "like y", "z": "like y"}
    assert classes.contradictions == 1


IMAGES = "abcdefgh"


@given(
    st.dictionaries(st.sampled_from(IMAGES), st.sampled_from(["one", "two"])),
    st.lists(st.tuples(st.sampled_from(IMAGES), st.sampled_from(IMAGES), st.booleans()).filter(lambda a: a[0] != a[1])),
)
def test_no_class_holds_two_labels_and_every_answer_is_followed_or_counted(labels, said):
    classes = classes_of(labels, said)
    assert {image: classes.labels[image] for image in labels} == labels
    broken = sum(
        (classes.labels.get(one, one) == classes.labels.get(other, other)) != is_same for one, other, is_same in said
    )
    assert broken <= classes.contradictions
    members = defaultdict(set)
    for image, name in classes.labels.items():
        members[name].add(image)
    if not said:
        assert classes.labels == labels
    assert all(len(group) > 1 for name, group in members.items() if name.startswith("like "))
    assert not any(a & b for a, b in itertools.combinations(members.values(), 2))
