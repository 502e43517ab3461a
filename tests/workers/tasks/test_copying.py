"""What a gallery keeps beside photos goes into an archive, comes back from it, and is checked on the way."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from ml import records
from ml.model.registry import Registry
from ml.storage import LocalStorage, Storage, open_storage
from tests.workers.gallery.samples import photo
from workers.answers import APART, Answers
from workers.client import archive_check
from workers.coverage import Coverage, named
from workers.gallery import Gallery
from workers.gallery.originals import image_id
from workers.messages import FolderCoverage
from workers.queue.jobs import PREFIXES
from workers.saved_queries import SavedQueries
from workers.tasks.copying import DIVIDED, UNDIVIDED, copy_files, folders_of, remove_others

DERIVED = {"views", "models"}  # made again when asked for; copied by the client
ONE, OTHER = "aa" + "0" * 30, "ab" + "0" * 30


def copy(source: Storage, target: Storage) -> list[str]:
    """As a job does it. Returns what was left out."""
    left_out: set[str] = set()
    for prefix in PREFIXES:
        for folder in folders_of(prefix.removeprefix("prefix:")):
            keys, damaged = copy_files(source, target, folder, lambda: None)
            left_out.update(damaged)
            remove_others(target, folder, keys)
    return sorted(left_out)


def files(storage: LocalStorage) -> dict[str, bytes]:
    return {key: storage.get(key) for key in storage.keys("")}


@pytest.fixture
def here(tmp_path: Path) -> LocalStorage:
    """With something of every kind that a gallery keeps."""
    storage = LocalStorage(tmp_path / "here")
    gallery = Gallery(storage)
    ids = [gallery.add(photo(colour), path=f"{colour}.png", label="colours").id for colour in ("red", "blue")]
    gallery.discard(ids[0])
    gallery.put_view(ids[1], b"large")
    storage.put(f"thumbnails/{ids[1][:2]}/{ids[1]}.jpg", b"small")
    Answers(storage).give(ONE, OTHER, is_same=True)
    Answers(storage, folder=APART).give(ONE, OTHER, is_same=True)
    queries = SavedQueries(storage)
    queries.keep_image(ids[1], "my blue")
    queries.keep_photo(photo("green"), "green.png")
    failed = named([("/photos/broken.jpg", "it is cut short")])
    Coverage(storage).write(FolderCoverage("/photos", "desk", time.time(), indexed=2, failed=1, failures=failed))
    Registry(f"file://{tmp_path}/here/models").activate("model", "photos")
    return storage


def test_nothing_that_a_gallery_keeps_is_forgotten(here: LocalStorage, tmp_path: Path) -> None:
    there = LocalStorage(tmp_path / "archive")
    assert copy(here, there) == []
    kept = {name: data for name, data in files(here).items() if name.partition("/")[0] not in DERIVED}
    assert {name.partition("/")[0] for name in kept} == {*DIVIDED, *UNDIVIDED}
    assert files(there) == kept
    back = LocalStorage(tmp_path / "back")
    assert copy(there, back) == []
    assert files(back) == kept
    assert [query.name for query in SavedQueries(back).all()] == ["green.png", "my blue"]
    assert SavedQueries(back).photo(image_id(photo("green"))) == photo("green")
    assert [folder.failures[0].path for folder in Coverage(back).folders()] == ["/photos/broken.jpg"]
    assert Answers(back, folder=APART).about(ONE) == Answers(back).about(ONE) == {OTHER: True}


def test_a_copy_that_was_cut_short_is_gone_on_with(
    here: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after each of its writes in turn: what is there at any moment is whole, and the next run ends it."""
    whole = LocalStorage(tmp_path / "whole")
    copy(here, whole)
    put = LocalStorage.put_many
    for allowed in range(len(files(whole))):
        there, left = LocalStorage(tmp_path / f"archive-{allowed}"), [allowed]

        def put_or_die(storage: LocalStorage, contents: Any, left: list[int] = left) -> None:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            put(storage, contents)

        monkeypatch.setattr(LocalStorage, "put_many", put_or_die)
        with pytest.raises(KeyboardInterrupt):
            copy(here, there)
        monkeypatch.setattr(LocalStorage, "put_many", put)
        queries = SavedQueries(there)
        assert all(not query.is_photo or queries.photo(query.id) for query in queries.all())
        assert copy(here, there) == []
        assert files(there) == files(whole)


def test_what_is_kept_no_longer_goes_from_the_archive(here: LocalStorage, tmp_path: Path) -> None:
    there = LocalStorage(tmp_path / "archive")
    copy(here, there)
    SavedQueries(here).forget(image_id(photo("green")))
    assert Coverage(here).forget("desk", "/photos")
    copy(here, there)
    assert [query.name for query in SavedQueries(there).all()] == ["my blue"]
    assert list(there.keys("folders")) == []
    assert not [key for key in there.keys("queries") if key.endswith(".photo")]


def test_of_two_records_the_later_one_stays(here: LocalStorage, tmp_path: Path) -> None:
    archive = LocalStorage(tmp_path / "archive")
    copy(here, archive)
    id = image_id(photo("green"))
    SavedQueries(here).keep_photo(photo("green"), "renamed")
    Coverage(here).write(FolderCoverage("/photos", "desk", time.time() + 1, indexed=3))
    for folder in UNDIVIDED:
        copy_files(archive, here, folder, lambda: None)
    assert {query.id: query.name for query in SavedQueries(here).all()}[id] == "renamed"
    assert [folder.indexed for folder in Coverage(here).folders()] == [3]
    copy(here, archive)
    assert {query.id: query.name for query in SavedQueries(archive).all()}[id] == "renamed"


def test_an_archive_of_an_earlier_version_changes_nothing_that_it_lacks(here: LocalStorage, tmp_path: Path) -> None:
    archive = LocalStorage(tmp_path / "archive")
    copy(here, archive)
    for folder in (*UNDIVIDED, APART, "trash"):
        for key in list(archive.keys(folder)):
            archive.delete(key)
    archive_check.check(archive, archive.url)
    before = files(here)
    for prefix in PREFIXES:
        for folder in folders_of(prefix.removeprefix("prefix:")):
            assert copy_files(archive, here, folder, lambda: None)[1] == []
    assert files(here) == before


def flipped(data: bytes) -> bytes:
    return data.replace(b'"at": 1', b'"at": 2').replace(b"colours", b"Colours")


@pytest.mark.parametrize("ruin", [flipped, lambda data: data[:20], lambda data: b""], ids=["flipped", "cut", "empty"])
@pytest.mark.parametrize("folder", ["metadata", "trash", "answers", "apart", "queries", "folders"])
def test_a_damaged_record_is_left_out_and_an_earlier_copy_of_it_stays(
    here: LocalStorage, tmp_path: Path, folder: str, ruin: Any
) -> None:
    there = LocalStorage(tmp_path / "archive")
    copy(here, there)
    (key, *_) = [key for key in here.keys(folder) if key.endswith(".json")]
    whole = here.get(key)
    here.put(key, ruin(whole))
    assert copy(here, there) == [key]
    assert there.get(key) == whole


HOSTILE_RECORDS: dict[str, tuple[str, dict[str, Any]]] = {
    "a query by another one's name": (f"queries/{ONE}.json", {"id": OTHER, "name": "x", "at": 1, "is_photo": False}),
    "a query whose id is a path": (f"queries/{ONE}.json", {"id": "../../x", "name": "x", "at": 1, "is_photo": False}),
    "a query without a name": (f"queries/{ONE}.json", {"id": ONE, "at": 1, "is_photo": False}),
    "a query of the year 99999": (f"queries/{ONE}.json", {"id": ONE, "name": "x", "at": 1e15, "is_photo": False}),
    "a folder by another one's name": (
        f"folders/{ONE}.json",
        FolderCoverage("/photos", "desk", 1.0).to_json(),
    ),
    "a folder with a count that is text": (
        f"folders/{ONE}.json",
        FolderCoverage("/photos", "desk", 1.0).to_json() | {"indexed": "<script>"},
    ),
    "a folder whose job leads elsewhere": (
        f"folders/{ONE}.json",
        FolderCoverage("/photos", "desk", 1.0).to_json() | {"job": "../x"},
    ),
}


@pytest.mark.parametrize("name", HOSTILE_RECORDS)
def test_a_record_that_none_of_us_has_written_does_not_get_here(tmp_path: Path, name: str) -> None:
    key, record = HOSTILE_RECORDS[name]
    archive, here = (open_storage(f"file://{tmp_path}/{each}") for each in ("archive", "here"))
    records.write(archive, key, record)
    assert copy_files(archive, here, key.partition("/")[0], lambda: None)[1] == [key]
    assert list(here.keys("")) == []


def test_a_photo_that_is_not_its_queries_does_not_get_here(tmp_path: Path) -> None:
    archive, here = (open_storage(f"file://{tmp_path}/{each}") for each in ("archive", "here"))
    archive.put(f"queries/{ONE}.photo", b"something else")
    archive.put(f"queries/{ONE}.json", json.dumps({"id": ONE, "name": "x", "at": 1, "is_photo": True}).encode())
    assert copy_files(archive, here, "queries", lambda: None)[1] == [f"queries/{ONE}.photo"]
    assert SavedQueries(here).all()[0].id == ONE, "a preview passes over it"


def test_an_original_that_is_not_what_its_id_says_does_not_get_here(here: LocalStorage, tmp_path: Path) -> None:
    archive, elsewhere = LocalStorage(tmp_path / "archive"), LocalStorage(tmp_path / "elsewhere")
    copy(here, archive)
    (key, *others) = archive.keys("originals")
    whole = archive.get(key)
    archive.put(key, bytes(len(whole)))
    assert copy_files(archive, elsewhere, "originals", lambda: None)[1] == [key]
    assert list(elsewhere.keys("originals")) == others
    copy(archive, here)
    assert here.get(key) == whole
