"""An archive is one gallery's, and says so."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ml import records
from ml.records import Damaged
from ml.storage import open_storage
from tests.workers.gallery.samples import photo
from workers.client.backup import Backup
from workers.errors import NotFound, Refused
from workers.gallery import Gallery
from workers.messages import JobStatus


def gallery_at(home: Path, *colours: str) -> Backup:
    gallery = Gallery(open_storage(f"file://{home}"))
    for colour in colours:
        gallery.add(photo(colour), path=f"{colour}.png", label=None)
    connection = SimpleNamespace(start_job=lambda kind, params, items, chunk_size: kind)
    client: Any = SimpleNamespace(
        settings=SimpleNamespace(storage_url=f"file://{home}"), gallery=gallery, connection=connection
    )
    return Backup(client)


def done() -> JobStatus:
    return JobStatus("backup-1", "backup", "done", 0, 0, 0, 0, 0, 0.0)


@pytest.fixture
def archive(tmp_path: Path) -> str:
    """Of the gallery at `first`."""
    url = f"file://{tmp_path}/archive"
    first = gallery_at(tmp_path / "first", "red")
    first.archive(url)
    first.finish_archive(url, done())
    return url


def test_its_gallery_goes_on_with_it(tmp_path: Path, archive: str) -> None:
    assert gallery_at(tmp_path / "first", "blue").archive(archive) == "backup"


def test_another_gallery_is_refused(tmp_path: Path, archive: str) -> None:
    with pytest.raises(Refused, match="holds the backup of another gallery"):
        gallery_at(tmp_path / "second", "blue").archive(archive)


@pytest.mark.parametrize("content", [b"", b'{"id": "', b"[]"])
@pytest.mark.parametrize("colour, is_ours", [("red", True), ("blue", False)])
def test_a_gallery_whose_name_is_damaged_is_recognised_by_its_photos(
    tmp_path: Path, archive: str, colour: str, is_ours: bool, content: bytes
) -> None:
    Gallery(open_storage(archive)).add(photo("red"), path="red.png", label=None)
    home = open_storage(f"file://{tmp_path}/{'first' if is_ours else 'second'}")
    home.put("gallery.json", content)
    gallery = gallery_at(tmp_path / ("first" if is_ours else "second"), colour)
    if is_ours:
        assert gallery.archive(archive) == "backup"
        assert home.get("gallery.json") == open_storage(archive).get("gallery.json")
    else:
        with pytest.raises(Refused, match="holds the backup of another gallery"):
            gallery.archive(archive)
        assert gallery.archive(f"file://{tmp_path}/elsewhere") == "backup"


def test_an_archive_whose_name_is_damaged_is_recognised_by_its_photos(tmp_path: Path, archive: str) -> None:
    Gallery(open_storage(archive)).add(photo("red"), path="red.png", label=None)
    open_storage(archive).put("gallery.json", b"")
    with pytest.raises(Refused):
        gallery_at(tmp_path / "second", "blue").archive(archive)
    assert gallery_at(tmp_path / "first").archive(archive) == "backup"
    with pytest.raises(Refused):
        gallery_at(tmp_path / "second", "red").archive(archive)


def test_a_gallery_that_has_moved_goes_on_with_its_archive(tmp_path: Path, archive: str) -> None:
    gallery_at(tmp_path / "first").migrate(f"file://{tmp_path}/moved", "")
    assert gallery_at(tmp_path / "moved", "green").archive(archive) == "backup"


@pytest.mark.parametrize("colour, is_ours", [("red", True), ("blue", False)])
def test_one_that_an_earlier_version_made_is_recognised_by_its_photos(
    tmp_path: Path, archive: str, colour: str, is_ours: bool
) -> None:
    storage = open_storage(archive)
    storage.delete("gallery.json")
    Gallery(storage).add(photo("red"), path="red.png", label=None)
    other = gallery_at(tmp_path / "second", colour)
    if is_ours:
        assert other.archive(archive) == "backup"
    else:
        with pytest.raises(Refused):
            other.archive(archive)


def test_a_home_that_was_restored_goes_on_with_the_archive(tmp_path: Path, archive: str) -> None:
    gallery_at(tmp_path / "new").restore(archive)
    assert gallery_at(tmp_path / "new", "green").archive(archive) == "backup"


def test_a_model_that_was_removed_goes_from_the_archive(tmp_path: Path, archive: str) -> None:
    open_storage(archive).put("models/old/model.json", b"{}")
    open_storage(f"file://{tmp_path}/first").put("models/new/model.json", b"{}")
    gallery_at(tmp_path / "first").finish_archive(archive, done())
    assert list(open_storage(archive).keys("models")) == ["models/new/model.json"]


def test_a_manifest_that_is_damaged_or_missing_is_told(tmp_path: Path, archive: str) -> None:
    open_storage(archive).put("backup.json", b"{")
    with pytest.raises(Damaged, match="is damaged: it is cut short"):
        gallery_at(tmp_path / "new").restore(archive)
    open_storage(archive).delete("backup.json")
    with pytest.raises(NotFound):
        gallery_at(tmp_path / "new").restore(archive)


def test_records_tell_a_flipped_bit(tmp_path: Path) -> None:
    storage = open_storage(f"file://{tmp_path}")
    records.write(storage, "record.json", {"name": "lime"})
    assert records.read(storage, "record.json", lambda record: record["name"]) == "lime"
    storage.put("record.json", storage.get("record.json").replace(b"lime", b"dime"))
    with pytest.raises(Damaged, match=r"record\.json is damaged: it is not what was written"):
        records.read(storage, "record.json", dict)
