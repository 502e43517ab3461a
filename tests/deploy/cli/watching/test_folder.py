"""When a file of a watched folder counts as whole, and when as gone."""

import shutil
from pathlib import Path

from tests.deploy.cli.watching.conftest import Disk, photo


def names(disk: Disk) -> list[str]:
    return [Path(found.path).name for found in disk.folder.compare().found]


def test_a_file_that_was_closed_is_taken_at_once(disk: Disk) -> None:
    disk.write("one.png", photo(1))
    assert names(disk) == ["one.png"]


def test_a_file_that_nobody_tells_of_is_taken_when_it_stopped_changing(disk: Disk) -> None:
    path = disk.root / "slow.png"
    path.write_bytes(photo(1)[:100])
    assert names(disk) == []
    disk.now += 1.5
    path.write_bytes(photo(1))
    assert names(disk) == []
    disk.now += 1.5
    assert names(disk) == []
    disk.now += 1.0
    assert names(disk) == ["slow.png"]


def test_a_file_that_is_being_written_is_waited_for_through_pauses(disk: Disk) -> None:
    path = disk.write("slow.png", photo(1)[:100])
    disk.writing.written(str(path))
    assert names(disk) == []
    disk.now += 10.0
    assert names(disk) == []
    disk.write("slow.png", photo(1))
    assert names(disk) == ["slow.png"]


def test_a_file_is_gone_when_it_is_missing_for_a_while(disk: Disk) -> None:
    for number in range(3):
        disk.write(f"{number}.png", photo(number))
    disk.look()
    (disk.root / "1.png").unlink()
    assert disk.folder.compare().gone == []
    disk.now += 3.0
    assert disk.folder.compare().gone == [str(disk.root / "1.png")]


def test_a_folder_that_is_away_or_empty_loses_nothing(disk: Disk) -> None:
    disk.write("1.png", photo(1))
    disk.look()
    shutil.rmtree(disk.root)
    for _ in range(2):
        difference = disk.folder.compare()
        assert difference.is_away and not difference.gone
        disk.now += 100.0
    disk.root.mkdir()  # the point where a drive would be mounted
    assert disk.folder.compare().is_away


def test_what_lies_in_a_folder_that_cannot_be_read_is_not_gone(disk: Disk) -> None:
    disk.write("a/1.png", photo(1))
    disk.write("b/2.png", photo(2))
    disk.look()
    shutil.rmtree(disk.root / "a")
    (disk.root / "a").symlink_to(disk.root / "nowhere")  # root may read everything: a drive that is not mounted
    disk.folder.compare()
    disk.now += 100.0
    assert disk.folder.compare().gone == []
