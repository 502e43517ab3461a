"""One rule says which files of a folder are photos of a person's own, for indexing and for training alike."""

import io
import os
from pathlib import Path

import pytest
from PIL import Image

from ml.data import datasets
from ml.data.photo_files import BadIgnoreFile, photo_files


def make(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        out = io.BytesIO()
        Image.new("RGB", (8, 8), (number, 2 * number, 90)).save(out, "PNG")
        path.write_bytes(out.getvalue())


def names(root: Path) -> list[str]:
    return [found.path.relative_to(root).as_posix() for found in photo_files(root, lambda path, reason: None)]


@pytest.mark.parametrize(
    "folder",
    [
        "@eaDir",
        "#recycle",
        "@Recycle",
        "$RECYCLE.BIN",
        ".Trash-1000",
        ".Trashes",
        "lost+found",
        "__MACOSX",
        "Catalog Previews.lrdata",
        "Library.photoslibrary/resources/derivatives",
        "Library.photoslibrary/database",
        "Old.migratedphotolibrary/Thumbnails",
    ],
)
def test_folders_that_hold_no_photos_of_their_own_stay_out(tmp_path: Path, folder: str) -> None:
    make(tmp_path, f"{folder}/1/1.jpg", f"inner/{folder}/1.jpg", "1.jpg")
    assert names(tmp_path) == ["1.jpg"]


def test_the_originals_of_a_photo_library_are_photos(tmp_path: Path) -> None:
    make(tmp_path, "My.photoslibrary/originals/0/1.heic", "Old.photolibrary/Masters/2012/1.jpg")
    assert names(tmp_path) == ["My.photoslibrary/originals/0/1.heic", "Old.photolibrary/Masters/2012/1.jpg"]


def test_side_files_of_macos_stay_out(tmp_path: Path) -> None:
    make(tmp_path, "._1.jpg", "1.jpg", "_1.jpg")
    assert names(tmp_path) == ["1.jpg", "_1.jpg"]


def test_an_ignore_file_has_gitignores_patterns_and_the_nearest_decides(tmp_path: Path) -> None:
    make(tmp_path, "private/1.jpg", "shown/1.jpg", "shown/1_copy.jpg", "shown/inner/2_copy.jpg", "other/private/1.jpg")
    (tmp_path / ".lookalikeignore").write_text("# copies\n*_copy.jpg\n/private/\n")
    (tmp_path / "shown" / "inner" / ".lookalikeignore").write_text("!2_copy.jpg\n")
    assert names(tmp_path) == ["other/private/1.jpg", "shown/1.jpg", "shown/inner/2_copy.jpg"]


def test_an_ignore_file_that_cannot_be_understood_ends_the_walk(tmp_path: Path) -> None:
    make(tmp_path, "1.jpg")
    (tmp_path / ".lookalikeignore").write_text("!\n")
    with pytest.raises(BadIgnoreFile, match="is not valid"):
        names(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_an_ignore_file_that_cannot_be_read_ends_the_walk(tmp_path: Path) -> None:
    (tmp_path / ".lookalikeignore").write_text("private\n")
    (tmp_path / ".lookalikeignore").chmod(0)
    with pytest.raises(BadIgnoreFile, match="cannot be read"):
        names(tmp_path)


def test_training_follows_the_same_rule_and_says_what_it_left_out(tmp_path: Path) -> None:
    make(tmp_path, "apple/1.jpg", "apple/@eaDir/1.jpg", "pear/2.jpg", "@eaDir/3.jpg", "pear/._2.jpg", "draft/4.jpg")
    (tmp_path / ".lookalikeignore").write_text("draft\n")
    dataset = datasets.load(tmp_path)
    assert dataset.classes == ("apple", "pear")
    assert sorted((left.path.relative_to(tmp_path).as_posix(), left.reason) for left in dataset.left_out) == [
        ("@eaDir", "is left out: thumbnails of a Synology"),
        ("apple/@eaDir", "is left out: thumbnails of a Synology"),
        ("draft", "is left out: .lookalikeignore"),
        ("pear/._2.jpg", "is left out: side file of macOS"),
    ]
