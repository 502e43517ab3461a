"""Answers in storage: by content, in two places each, the later one counts."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ml.storage import LocalStorage
from workers import answers
from workers.answers import Answers, key_of

A, B, C = (f"{prefix}{'0' * 30}" for prefix in ("aa", "bb", "cc"))


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path)


def test_an_answer_is_known_from_both_sides_and_by_other_processes(storage):
    Answers(storage).give(B, A, is_same=True)
    Answers(storage).give(A, C, is_same=False)
    for id, expected in ((A, {B: True, C: False}), (B, {A: True}), (C, {A: False})):
        assert Answers(storage).about(id) == expected
    assert [each.pair for each in Answers(storage).all()] == [(A, B), (A, C)]


def test_the_later_answer_counts_and_one_can_be_taken_back(storage):
    given = Answers(storage)
    given.give(A, B, is_same=True)
    first = given.all()[0].at
    given.give(B, A, is_same=False)
    assert given.about(A) == {B: False}
    assert (given.count(), given.count(since=first), given.count(since=given.all()[0].at)) == (1, 1, 0)
    given.give(A, B, is_same=None)
    assert given.about(A) == {}
    assert given.count() == 0


@pytest.mark.parametrize("pair", [(A, A), (A, "../../etc"), ("", B)])
def test_only_two_images_can_be_answered_about(storage, pair):
    with pytest.raises(ValueError, match="about two images"):
        Answers(storage).give(*pair, is_same=True)
    assert Answers(storage).about("../aa") == {}


def test_answers_about_many_pairs_write_each_file_once(storage, monkeypatch):
    written = []
    write = answers.records.write
    monkeypatch.setattr(answers.records, "write", lambda *all: (written.append(all[1]), write(*all)))
    given = Answers(storage).give_all(itertools.combinations((A, B, C), 2), True)
    assert [each.pair for each in given] == [(A, B), (A, C), (B, C)]
    assert sorted(written) == [key_of(id[:2]) for id in (A, B, C)]
    assert Answers(storage).about(B) == {A: True, C: True}
    with pytest.raises(ValueError, match="about two images"):
        Answers(storage).give_all([(A, B), (A, A)], None)
    assert Answers(storage).about(A) == {B: True, C: True}


def test_answers_given_at_the_same_time_are_all_kept(storage):
    others = [f"{n:02x}{'1' * 30}" for n in range(40)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda other: Answers(storage).give(A, other, is_same=True), others))
    assert len(Answers(storage).about(A)) == 40


@pytest.mark.parametrize("damage", [b"", b"{", b'{"answers": [{"one": 1}], "checksum": "0"}'])
def test_a_damaged_file_is_made_anew_from_the_others(storage, damage):
    Answers(storage).give(A, B, is_same=True)
    Answers(storage).give(A, C, is_same=False)
    storage.put(key_of("aa"), damage)
    assert Answers(storage).about(A) == {B: True, C: False}
    Answers(storage).give(A, B, is_same=False)
    storage.delete(key_of("bb"))
    assert Answers(storage).about(A) == {B: False, C: False}


def test_of_two_copies_the_later_answer_counts_for_each_pair(storage, tmp_path):
    here, there = Answers(storage), LocalStorage(tmp_path / "archive")
    here.give(A, B, is_same=True)
    Answers(there).give(A, B, is_same=False)
    Answers(there).give(A, C, is_same=True)
    for key in there.keys(answers.FOLDER):
        here.take(key, answers.parsed(answers.records.loads(there.get(key))))
    assert here.about(A) == {B: False, C: True}
