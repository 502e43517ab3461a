"""What becomes of the gallery's photos when files of a watched folder come, change, move and go."""

import os
from dataclasses import replace

import pytest

from deploy.cli.upload_folder import IndexingEnded
from deploy.cli.watching.follow import Following
from deploy.cli.watching.seen import SeenFiles
from tests.deploy.cli.watching.conftest import Disk, photo
from workers.client import Busy


def test_new_files_are_indexed_and_named_after_their_folder(disk: Disk) -> None:
    disk.write("lemons/1.png", photo(1))
    assert disk.look().added == 1
    assert disk.images() == {"lemons/1.png": "lemons"}
    assert str(disk.look()) == ""


@pytest.mark.parametrize("in_place", [False, True])
def test_a_moved_file_keeps_its_label(disk: Disk, in_place: bool) -> None:
    disk.how = replace(disk.how, in_place=in_place)
    path = disk.write("lemons/1.png", photo(1))
    disk.look()
    (disk.root / "fruit").mkdir()
    path.rename(disk.root / "fruit" / "renamed.png")
    done = disk.look()
    assert (done.moved, done.removed) == (1, 0)
    assert disk.images() == {"fruit/renamed.png": "lemons"}
    (image,) = disk.client.gallery.find_many(disk.client.gallery.ids()).values()
    assert image.state == "ok"
    assert disk.client.gallery.original(image.id) == photo(1)


def test_a_move_that_is_seen_at_once_keeps_the_label(disk: Disk) -> None:
    path = disk.write("lemons/1.png", photo(1))
    disk.look()
    path.rename(disk.root / "1.png")
    disk.writing.whole(str(disk.root / "1.png"))  # the system tells of it before the old file counts as gone
    assert str(disk.look(after_s=0.0)) == "1 moved"
    assert disk.images() == {"1.png": "lemons"}
    assert list(disk.seen) == [str(disk.root / "1.png")]


def test_a_file_moved_while_nobody_watched_keeps_its_label(disk: Disk) -> None:
    path = disk.write("lemons/1.png", photo(1))
    disk.look()
    disk.seen.close()
    path.rename(disk.root / "1.png")
    disk.open()
    assert disk.look().moved == 1
    assert disk.images() == {"1.png": "lemons"}


def test_a_changed_file_keeps_the_label_that_a_person_gave(disk: Disk) -> None:
    disk.write("lemons/1.png", photo(1))
    disk.look()
    (id,) = disk.client.gallery.ids()
    disk.client.gallery.set_label(id, "citrus")
    disk.write("lemons/1.png", photo(2))
    assert disk.look().changed == 1
    assert disk.images() == {"lemons/1.png": "citrus"}
    (new,) = disk.client.gallery.ids()
    disk.client.gallery.add(photo(2), path="x/1.png", label="x")
    assert disk.client.gallery.image(new).label == "citrus", "a folder's name never replaces it"
    assert disk.client.gallery.trash.exists(id), "what the file held before is in the trash"


def test_a_removed_file_goes_into_the_trash_only_where_that_is_asked_for(disk: Disk) -> None:
    for number in range(3):
        disk.write(f"{number}.png", photo(number))
    disk.look()
    disk.how = Following()
    (disk.root / "0.png").unlink()
    done = disk.look()
    assert str(done) == "1 removed from the disk, kept in the gallery"
    assert len(disk.images()) == 3
    disk.how = Following(trash_removed=True)
    (disk.root / "1.png").unlink()
    assert str(disk.look()) == "1 removed, in the trash now"
    assert set(disk.images()) == {"0.png", "2.png"}


def test_one_of_two_files_with_the_same_photo_goes_and_the_other_one_stands_for_it(disk: Disk) -> None:
    disk.write("a.png", photo(1))
    disk.write("b.png", photo(1))
    disk.look()
    assert set(disk.images()) == {"a.png"}
    (disk.root / "a.png").unlink()
    assert disk.look().removed == 0
    assert set(disk.images()) == {"b.png"}


def test_what_is_no_photo_is_told_once(disk: Disk) -> None:
    disk.write("broken.jpg", b"no photo")
    assert disk.look().failed == 1
    assert str(disk.look()) == ""
    seen = disk.seen.get(str(disk.root / "broken.jpg"))
    assert seen and seen.id is None and seen.reason


def test_what_could_not_be_indexed_is_found_again(disk: Disk) -> None:
    disk.write("1.png", photo(1))
    disk.client.is_away = True
    with pytest.raises(IndexingEnded):
        disk.look()
    disk.client.is_away = False
    disk.look()
    assert set(disk.images()) == {"1.png"}
    assert len(disk.seen) == 1


def test_two_watchers_of_one_folder_exclude_each_other(disk: Disk) -> None:
    with pytest.raises(Busy, match="watched already"):
        SeenFiles(disk.home, disk.root)


def test_what_was_deleted_stays_deleted_though_its_file_moves_or_is_touched(disk: Disk) -> None:
    path = disk.write("lemons/1.png", photo(1))
    disk.write("lemons/2.png", photo(2))
    disk.look()
    (id,) = [id for id in disk.client.gallery.ids() if disk.client.gallery.image(id).name == "1.png"]
    disk.client.gallery.discard(id)
    os.utime(path, (0, 0))
    assert str(disk.look()) == "1 deleted before, left in the trash"
    (disk.root / "lemons").rename(disk.root / "citrus")
    done = disk.look()
    assert (done.moved, done.deleted, done.removed) == (1, 1, 0)
    assert set(disk.images()) == {"citrus/2.png"}
    assert str(disk.look()) == ""


def test_what_was_deleted_stays_deleted_at_the_first_look_at_a_folder(disk: Disk) -> None:
    """As after a restore on another machine, or where `lookalike index` came first."""
    disk.write("1.png", photo(1))
    disk.write("2.png", photo(2))
    gallery = disk.client.gallery
    gallery.discard(gallery.add(photo(1), path=str(disk.root / "1.png"), label=None).id)
    done = disk.look()
    assert (done.added, done.deleted, done.restored) == (1, 1, 0)
    assert set(disk.images()) == {"2.png"}


def test_a_deleted_photo_that_comes_anew_is_restored(disk: Disk) -> None:
    path = disk.write("1.png", photo(1))
    disk.write("2.png", photo(2))
    disk.look()
    path.unlink()
    assert str(disk.look()) == "1 removed, in the trash now"
    disk.write("again.png", photo(1))
    assert str(disk.look()) == "1 restored from the trash"
