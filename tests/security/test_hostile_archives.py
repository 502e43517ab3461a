"""Backups that were made elsewhere are checked as a whole, before anything is restored."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from ml import records
from ml.errors import LookalikeError
from ml.records import Damaged
from ml.storage import open_storage
from tests.security.hostile import HOSTILE_ENTRIES, HOSTILE_JSON, ID, make_strange, one_line
from tests.workers.gallery.samples import photo
from workers.client.backup import Backup
from workers.gallery import Gallery
from workers.gallery.originals import image_id
from workers.store.archive import Archive


def system(home: Path) -> Backup:
    gallery = Gallery(open_storage(f"file://{home}"))
    gallery.add(photo("red"), path="red.png", label=None)
    connection = SimpleNamespace(start_job=lambda kind, params, items, chunk_size: kind)
    client: Any = SimpleNamespace(
        settings=SimpleNamespace(storage_url=f"file://{home}"), gallery=gallery, connection=connection
    )
    return Backup(client)


@pytest.fixture
def archive(tmp_path: Path, tiny: Path) -> Path:
    """A whole one, with a model, a state and a point."""
    folder = tmp_path / "archive"
    storage = open_storage(f"file://{folder}")
    records.write(storage, "gallery.json", {"id": "0" * 32})
    records.write(storage, "backup.json", {"made_at": 1.0})
    shutil.copytree(tiny, folder / "models" / "tiny")
    entry = {"model": "tiny", "collection": "gallery-tiny", "since": 1.0}
    storage.put("models/active.json", json.dumps(entry).encode())
    storage.put("models/history.json", json.dumps([entry]).encode())
    points = Archive(storage)
    points.ensure("gallery-tiny", 8)
    original = photo("red")
    storage.put(f"originals/{image_id(original)[:2]}/{image_id(original)}", original)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(archive: Path, tmp_path: Path) -> LookalikeError:
    """Restores; nothing may be written."""
    backup = system(tmp_path / "home")
    before = content(tmp_path / "home")
    with pytest.raises(LookalikeError) as raised:
        backup.restore(f"file://{archive}")
    one_line(raised)
    assert content(tmp_path / "home") == before
    return raised.value


def test_a_whole_archive_is_restored(archive: Path, tmp_path: Path) -> None:
    assert system(tmp_path / "home").restore(f"file://{archive}") == "restore"
    assert (tmp_path / "home/models/tiny/model.json").exists()


@pytest.mark.parametrize("kind", ["link", "pipe"])
@pytest.mark.parametrize(
    "key",
    [
        *("models/tiny/head.safetensors", "models/tiny/new.bin", "metadata/ab/x", "originals/a"),
        *(f"queries/{ID}.photo", f"queries/{ID}.json", f"folders/{ID}.json", "apart/ab/pairs.json"),
    ],
)
def test_an_archive_with_other_than_files(archive: Path, tmp_path: Path, key: str, kind: str) -> None:
    (archive / key).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "secret").write_bytes(b"secret")
    make_strange(kind, archive / key, tmp_path / "secret")
    assert "is no regular file" in refused(archive, tmp_path).message


@pytest.mark.parametrize(
    "key",
    [
        *("models/-rf/model.json", "models/a b/model.json", "models/tiny/deep/model.json", "models/tiny/run"),
        *("collections/-x/collection.json", "collections/gallery-tiny/run.sh", "collections/collection.json"),
        *("queries/x.json", f"queries/{ID}.html", f"queries/ab/{ID}.json", "folders/photos.json", "apart/ab/x.json"),
        *("originals/ab/../ab", f"originals/cd/{ID}", f"metadata/ab/{ID}", f"thumbnails/ab/{ID}.html"),
    ],
)
def test_an_archive_with_files_that_no_backup_has(archive: Path, tmp_path: Path, key: str) -> None:
    path = archive / key
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        pytest.skip("no file of this name can be")
    path.write_bytes(b"x")
    assert "is no file of a backup" in refused(archive, tmp_path).message


@pytest.mark.parametrize("file", ["backup.json", "models/active.json", "models/tiny/model.json"])
@pytest.mark.parametrize("name", HOSTILE_JSON)
def test_an_archive_whose_json_is_none(archive: Path, tmp_path: Path, file: str, name: str) -> None:
    (archive / file).write_bytes(HOSTILE_JSON[name])
    assert isinstance(refused(archive, tmp_path), Damaged)


@pytest.mark.parametrize("name", HOSTILE_ENTRIES)
@pytest.mark.parametrize("file", ["active.json", "history.json"])
def test_an_archive_whose_state_leads_elsewhere(archive: Path, tmp_path: Path, file: str, name: str) -> None:
    entry = HOSTILE_ENTRIES[name]
    (archive / "models" / file).write_text(json.dumps([entry] if file == "history.json" else entry))
    refused(archive, tmp_path)


def test_an_archive_whose_history_names_a_collection_that_is_not_in_it(archive: Path, tmp_path: Path) -> None:
    entry = {"model": "tiny", "collection": "somebody-elses", "since": 1.0}
    (archive / "models/history.json").write_text(json.dumps([entry]))
    assert "somebody-elses" in refused(archive, tmp_path).message


def test_an_archive_whose_collection_is_another_models(archive: Path, tmp_path: Path) -> None:
    Archive(open_storage(f"file://{archive}")).ensure("gallery-tiny", 2)
    assert "have 2 numbers, those of model tiny 8" in refused(archive, tmp_path).message


def test_an_archive_whose_model_is_another(archive: Path, tmp_path: Path) -> None:
    (archive / "models/tiny/head.safetensors").write_bytes(b"x")
    assert "head.safetensors is missing or not what was saved" in refused(archive, tmp_path).message


HOSTILE_ROWS: dict[str, tuple[Any, Any]] = {
    "an id elsewhere": ([{"id": "../x", "path": "a"}], np.zeros((1, 2), np.float32)),
    "an id of another prefix": ([{"id": "cd" * 16, "path": "a"}], np.zeros((1, 2), np.float32)),
    "one id twice": ([{"id": ID, "path": "a"}] * 2, np.zeros((2, 2), np.float32)),
    "rows that are an object": ({"id": ID}, np.zeros((1, 2), np.float32)),
    "fewer vectors": ([{"id": ID, "path": "a"}], np.zeros((0, 2), np.float32)),
    "longer vectors": ([{"id": ID, "path": "a"}], np.zeros((1, 3), np.float32)),
    "vectors of text": ([{"id": ID, "path": "a"}], np.zeros((1, 2), np.int8)),
    "NaN": ([{"id": ID, "path": "a"}], np.full((1, 2), np.nan, np.float32)),
    "half a surrogate pair": ([{"id": ID, "path": "\ud800"}], np.zeros((1, 2), np.float32)),
}


@pytest.mark.parametrize("name", HOSTILE_ROWS)
def test_points_of_an_archive_that_make_no_sense(archive: Path, name: str) -> None:
    rows, vectors = HOSTILE_ROWS[name]
    folder = archive / "collections/gallery-tiny"
    Archive(open_storage(f"file://{archive}")).ensure("gallery-tiny", 2)
    (folder / "ab.json").write_text(json.dumps(rows))
    save_file({"vectors": vectors}, folder / "ab.safetensors")
    with pytest.raises(Damaged) as raised:
        Archive(open_storage(f"file://{archive}")).read("gallery-tiny", "ab")
    one_line(raised)
