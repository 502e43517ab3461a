"""A walk tries what may be an image, in order, once, and labels it by its folder."""

import os
from pathlib import Path

import pytest

from deploy.cli.find_files import Candidate, Walk


def make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"something")


def names(walk: Walk, root: Path) -> list[str]:
    return [str(candidate.path.relative_to(root)) for candidate in walk]


def test_files_come_in_order_of_their_names(tmp_path: Path) -> None:
    make(tmp_path, "b/2.jpg", "b/1.jpg", "a/z.png", "c.webp")
    assert names(Walk([tmp_path]), tmp_path) == ["a/z.png", "b/1.jpg", "b/2.jpg", "c.webp"]


def test_the_label_is_the_name_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "Lime/1.jpg")
    (given,) = Walk([tmp_path / "Lime" / "1.jpg"])
    (walked,) = Walk([tmp_path])
    monkeypatch.chdir(tmp_path / "Lime")
    (relative,) = Walk([Path()])
    assert given.label == walked.label == relative.label == "Lime"
    assert relative.path == tmp_path / "Lime" / "1.jpg"


def test_hidden_files_and_folders_stay_out(tmp_path: Path) -> None:
    make(tmp_path, ".thumbnails/1.jpg", ".hidden.jpg", "seen.jpg")
    assert names(Walk([tmp_path]), tmp_path) == ["seen.jpg"]


def test_roots_are_gone_through_in_order_whatever_order_they_are_given_in(tmp_path: Path) -> None:
    make(tmp_path, "b/1.jpg", "a/1.jpg", "a-b/1.jpg")
    assert names(Walk([tmp_path / "b", tmp_path / "a-b", tmp_path / "a"]), tmp_path) == [
        "a/1.jpg",
        "a-b/1.jpg",
        "b/1.jpg",
    ]


def test_what_is_left_out_is_counted_and_told_with_the_reason(tmp_path: Path) -> None:
    make(tmp_path, "@eaDir/1.jpg", "._1.jpg", "private/1.jpg", "notes.txt", "1.jpg")
    (tmp_path / ".lookalikeignore").write_text("private/\n")
    skipped: dict[str, str] = {}
    walk = Walk([tmp_path], on_skip=lambda path, reason: skipped.update({path.name: reason}))
    assert names(walk, tmp_path) == ["1.jpg"]
    assert walk.skipped == 5
    assert skipped == {
        "@eaDir": "thumbnails of a Synology",
        "._1.jpg": "side file of macOS",
        ".lookalikeignore": "hidden",
        "private": ".lookalikeignore",
        "notes.txt": "no photo by its name",
    }


def test_only_a_plain_name_rules_a_file_out(tmp_path: Path) -> None:
    make(tmp_path, "notes.txt", "film.MP4", "Thumbs.db", "photo.xmp", "images.tar.gz")
    make(tmp_path, "no_ending", "new.heic", "drawing.svg", "odd.jpgx", "photo.JPG")
    walk = Walk([tmp_path])
    assert names(walk, tmp_path) == ["drawing.svg", "new.heic", "no_ending", "odd.jpgx", "photo.JPG"]
    assert walk.skipped == 5


def test_a_file_that_was_named_itself_is_always_tried(tmp_path: Path) -> None:
    make(tmp_path, "notes.txt")
    assert names(Walk([tmp_path / "notes.txt"]), tmp_path) == ["notes.txt"]


def test_links_are_followed_but_never_in_circles(tmp_path: Path) -> None:
    make(tmp_path, "photos/1.jpg")
    (tmp_path / "photos" / "back").symlink_to(tmp_path)
    (tmp_path / "zlink").symlink_to(tmp_path / "photos")
    assert names(Walk([tmp_path, tmp_path / "photos"]), tmp_path) == ["photos/1.jpg"]


def test_a_link_that_leads_nowhere_is_reported(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nothing")
    assert [candidate.reason for candidate in Walk([tmp_path])] == ["the link leads nowhere"]


def test_what_is_no_regular_file_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert list(Walk([tmp_path])) == []
    assert [candidate.reason for candidate in Walk([tmp_path / "pipe.jpg"])] == ["is no regular file"]


def test_names_that_are_no_text_can_be_shown(tmp_path: Path) -> None:
    candidate = Candidate(Path(os.fsdecode(b"/photos/caf\xe9.jpg")), None)
    assert candidate.display_path == "/photos/caf\N{REPLACEMENT CHARACTER}.jpg"
