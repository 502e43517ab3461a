"""Everything that reads a file made elsewhere, with a table of hostile ones: one line says what is wrong, nothing is
written, nothing waits for ever."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save, save_file

from ml import records, tensors
from ml.data import datasets
from ml.data.datasets import BadDataset
from ml.errors import BadBundle, LookalikeError
from ml.model.bundle import GOLDEN_VECTOR, HEAD, MODEL_JSON, Bundle, sha256_of
from ml.model.network import EmbeddingModel
from ml.model.registry import Active, Registry
from ml.model.save import save_bundle
from ml.names import BadName, CollectionName, JobName, ModelName, RunName
from ml.preprocessing import Preprocessing
from ml.records import Damaged
from ml.storage import open_storage
from ml.sweeps.record import Record
from ml.training import checkpoints
from tests.workers.gallery.samples import photo
from workers import settings as settings_of
from workers.client.backup import Backup
from workers.gallery import Gallery, metadata
from workers.gallery.originals import image_id
from workers.messages import GalleryImage
from workers.settings import BadSettings
from workers.store.archive import Archive

HOSTILE_NAMES = ("../x", "/x", "..", ".", "", ".hidden", "a/b", "a\\b", "a\0b", "-rf", "a\nb", "a ", "x.", "x" * 300)
HOSTILE_JSON = {
    "empty": b"",
    "a list": b"[]",
    "text": b'"x"',
    "null": b"null",
    "cut short": b'{"id": ',
    "no UTF-8": b"\xff\xfe",
    "deep": b"[" * 100_000,
    "deep and whole": b"[" * 50_000 + b"]" * 50_000,
    "5,000 digits": b'{"id": %s}' % (b"9" * 5_000),
    "NaN": b'{"id": NaN}',
    "infinity": b'{"id": 1e999}',
    "half of a surrogate pair": b'{"id": "\\ud800"}',
}


def one_line(raised: pytest.ExceptionInfo[LookalikeError]) -> None:
    assert "\n" not in raised.value.message and len(raised.value.message) < 1000, raised.value.message


@pytest.mark.parametrize("text", [*HOSTILE_NAMES, None, 7, ["a"], "\ud800"], ids=ascii)
@pytest.mark.parametrize("kind", [ModelName, CollectionName, RunName, JobName])
def test_what_is_no_name_becomes_none(kind: type, text: Any) -> None:
    with pytest.raises(BadName) as raised:
        kind(text)
    one_line(raised)


@pytest.mark.parametrize("text", ["a", "grocery-accurate-1f2e3d4c", "Früchte_2", "v1.2+x", "photos-20261127-065500"])
def test_usual_names_are_names(text: str) -> None:
    assert RunName(text) == text


@pytest.mark.parametrize("key", ["../x", "a/../../x", "/etc/passwd", "a\0b"])
def test_no_key_leads_out_of_a_storage(tmp_path: Path, key: str) -> None:
    storage = open_storage(f"file://{tmp_path}/home")
    for act in (storage.get, storage.exists, storage.delete, lambda key: storage.put(key, b"x"), storage.local_path):
        with pytest.raises(BadName):
            act(key)
    assert not list(tmp_path.glob("x"))


def make_strange(kind: str, path: Path, secret: Path) -> None:
    path.unlink(missing_ok=True)
    if kind == "link":
        path.symlink_to(secret)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_storage_reads_regular_files_alone(tmp_path: Path, kind: str) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "home").mkdir()
    make_strange(kind, tmp_path / "home" / "x", tmp_path / "secret")
    storage = open_storage(f"file://{tmp_path}/home")
    with pytest.raises(LookalikeError) as raised:
        storage.get("x")
    one_line(raised)
    assert list(storage.keys("")) == []


# Bundles

TINY = Preprocessing(32, 32, "squash", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), False)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    save_bundle(EmbeddingModel("resnet10t", TINY, dim=8), folder, name="tiny")
    return folder


@pytest.fixture
def bundle(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def change(bundle: Path, **facts: Any) -> None:
    path = bundle / MODEL_JSON
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


HEX = "0" * 64
HOSTILE_FACTS: dict[str, dict[str, Any]] = {
    **{f"name {name!a}": {"name": name} for name in HOSTILE_NAMES},
    "name that is a list": {"name": ["tiny"]},
    "files that are a list": {"files": ["model.json"]},
    "files elsewhere": {"files": {"../../victim": HEX}},
    "no files": {"files": {}},
    "checksums that are numbers": {"files": {"head.safetensors": 1}},
    "metrics that are NaN": {"metrics": {"map@r": float("nan")}},
    "metrics that are text": {"metrics": {"map@r": "<script>"}},
    "metrics that are a list": {"metrics": [1]},
    "enormous dim": {"dim": 10**30},
    "dim 0": {"dim": 0},
    "dim that is text": {"dim": "8"},
    "format of tomorrow": {"format": 99},
    "format that is a list": {"format": [2]},
    "threshold": {"threshold": 7},
    "registered in another age": {"lineage": {"registered_at": 1e300}},
    "registered at a text": {"lineage": {"registered_at": "x"}},
    "preprocessing that is null": {"preprocessing": None},
    "size that is text": {"preprocessing": {**TINY.to_json(), "size_px": "32"}},
    "enormous size": {"preprocessing": {**TINY.to_json(), "size_px": 10**9, "resize_px": 10**9}},
    "head that is a list": {"head": []},
}


@pytest.mark.parametrize("name", HOSTILE_FACTS)
def test_a_bundle_whose_facts_make_no_sense(bundle: Path, tmp_path: Path, name: str) -> None:
    change(bundle, **HOSTILE_FACTS[name])
    with pytest.raises(BadBundle) as raised:
        Bundle.load(bundle)
    one_line(raised)
    with pytest.raises(BadBundle):
        Registry(f"file://{tmp_path}/home/models").register(bundle)
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("name", HOSTILE_JSON)
def test_a_bundle_whose_json_is_none(bundle: Path, name: str) -> None:
    (bundle / MODEL_JSON).write_bytes(HOSTILE_JSON[name])
    with pytest.raises(BadBundle) as raised:
        Bundle.load(bundle)
    one_line(raised)


@pytest.mark.parametrize("file", [MODEL_JSON, HEAD, "golden.jpg"])
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_bundle_of_other_than_files(bundle: Path, tiny: Path, file: str, kind: str) -> None:
    make_strange(kind, bundle / file, tiny / file)
    with pytest.raises(BadBundle) as raised:
        Bundle.load(bundle)
    one_line(raised)


OUTSIDE = b'{"features":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}'
HOSTILE_TENSORS = {
    "empty": b"",
    "no header": b"\0" * 8,
    "giant header": (2**40).to_bytes(8, "little") + b"{",
    "header of 200 MB": (200 * 2**20).to_bytes(8, "little") + b"{" + b" " * 100,
    "offsets outside": (len(head := b'{"features":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}')).to_bytes(
        8, "little"
    )
    + head,
    "no JSON": (10).to_bytes(8, "little") + b"{" * 10,
    "other names": save({"x": np.zeros(1, np.float32)}),
    "another shape": save({"features": np.zeros((3, 3, 3), np.float32), "embedding": np.zeros(3, np.float32)}),
    "another type": save({"features": np.zeros((1, 512), np.int64), "embedding": np.zeros(8, np.int64)}),
    "NaN": save({"features": np.full((1, 512), np.nan, np.float32), "embedding": np.zeros(8, np.float32)}),
}


@pytest.mark.parametrize("name", HOSTILE_TENSORS)
def test_tensors_that_are_none(bundle: Path, name: str) -> None:
    for file in (GOLDEN_VECTOR, HEAD):
        (bundle / file).write_bytes(HOSTILE_TENSORS[name])
        files = json.loads((bundle / MODEL_JSON).read_text())["files"]
        change(bundle, files=files | {file: sha256_of(bundle / file)})
    loaded = Bundle.load(bundle)
    for read in (loaded.golden, loaded.golden_features, loaded.load_head):
        with pytest.raises(BadBundle) as raised:
            read()
        one_line(raised)
    with pytest.raises(ValueError):
        tensors.loads(HOSTILE_TENSORS[name], {"features": tensors.Expected("float32", (1, 512))})


# Registry and history

HOSTILE_ENTRIES: dict[str, Any] = {
    "collection elsewhere": {"model": "tiny", "collection": "../../victim", "since": 1.0},
    "model elsewhere": {"model": "../tiny", "collection": "c", "since": 1.0},
    "model that is a state": {"model": "active.json", "collection": "c", "since": 1.0},
    "since that is text": {"model": "tiny", "collection": "c", "since": "1"},
    "since the end of time": {"model": "tiny", "collection": "c", "since": 1e300},
    "no collection": {"model": "tiny", "since": 1.0},
    "a list": ["tiny"],
    "text": "tiny",
}


@pytest.mark.parametrize("name", HOSTILE_ENTRIES)
def test_a_state_that_makes_no_sense(tmp_path: Path, name: str) -> None:
    registry, entry = Registry(f"file://{tmp_path}"), HOSTILE_ENTRIES[name]
    (tmp_path / "active.json").write_text(json.dumps(entry))
    (tmp_path / "history.json").write_text(json.dumps([entry]))
    with pytest.raises(Damaged) as raised:
        registry.named()
    one_line(raised)
    assert registry.active() is None
    assert registry.retain(0) == []


@pytest.mark.parametrize("name", HOSTILE_JSON)
@pytest.mark.parametrize("file", ["active.json", "history.json", "building.json", "tiny/model.json"])
def test_a_registry_whose_json_is_none(tmp_path: Path, file: str, name: str) -> None:
    storage = open_storage(f"file://{tmp_path}")
    storage.put(file, HOSTILE_JSON[name])
    registry = Registry(f"file://{tmp_path}")
    if not (name == "a list" and file in ("history.json", "building.json")):
        (damaged,) = registry.damaged()
        assert "\n" not in damaged.message
    assert (registry.active(), registry.history(), registry.building(), registry.models()) == (None, [], [], [])


# Metadata

ID = "ab" * 16
RECORD = GalleryImage(ID, "a.png", "x/a.png", "red", 4, 4, "PNG", 70, 1.0).to_json()
HOSTILE_RECORDS: dict[str, dict[str, Any]] = {
    "another id": {"id": "cd" * 16},
    "id elsewhere": {"id": "../../x"},
    "width that is text": {"width": "4"},
    "enormous width": {"width": 10**40},
    "negative size": {"bytes": -1},
    "added in another age": {"added_at": 1e300},
    "label that is a list": {"label": ["red"]},
    "label of a megabyte": {"label": "x" * 2**20},
    "half a surrogate pair": {"label": "\ud800"},
    "a path that cannot be shown": {"path": "\udc80"},
    "a reference to another image": {"in_place": {"path": "/x", "size": 1, "mtime_ns": 1, "sha256": HEX}},
    "a reference that is text": {"in_place": "/etc/passwd"},
}


@pytest.mark.parametrize("name", HOSTILE_RECORDS)
def test_metadata_that_makes_no_sense(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError) as raised:
        metadata.parsed(ID, RECORD | HOSTILE_RECORDS[name])
    assert "\n" not in str(raised.value)
    storage = open_storage(f"file://{tmp_path}")
    records.write(storage, metadata.key(ID), RECORD | HOSTILE_RECORDS[name])
    assert Gallery(storage).image(ID).state == "damaged"


@pytest.mark.parametrize("name", HOSTILE_JSON)
def test_metadata_whose_json_is_none(tmp_path: Path, name: str) -> None:
    storage = open_storage(f"file://{tmp_path}")
    storage.put(metadata.key(ID), HOSTILE_JSON[name])
    assert Gallery(storage).image(ID).state == "damaged"


# Archives


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


# Tables, sweeps, runs, settings


@pytest.mark.parametrize("name", ["pipe", "device", "folder", "nothing", "a\0b", "a\x1bb"])
def test_rows_of_a_table_that_name_no_photo_are_told_by_their_line(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "good.png").write_bytes(photo("red"))
    path = "/dev/zero" if name == "device" else name
    (tmp_path / "table.csv").write_text(f"path,label\ngood.png,red\n{path},red\n,red\ngood.png,\n")
    loaded = datasets.load(tmp_path / "table.csv")
    assert len(loaded) == 1
    reasons = [left.reason for left in loaded.left_out]
    assert len(reasons) == 3
    assert any("line 4" in reason for reason in reasons) and any("line 5" in reason for reason in reasons)
    assert name == "nothing" or any("line 3" in reason for reason in reasons)


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"\xff\xfe", b"path\n" + b"x" * 200_000, b"a,b\n1,2\n", b'path,label\n"']
)
def test_a_table_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "table.csv").write_bytes(content)
    with pytest.raises(BadDataset) as raised:
        datasets.load(tmp_path / "table.csv")
    one_line(raised)


def test_a_folder_with_pipes_and_devices_is_read_past_them(tmp_path: Path) -> None:
    (tmp_path / "reds").mkdir()
    (tmp_path / "reds/good.png").write_bytes(photo("red"))
    os.mkfifo(tmp_path / "reds/pipe.png")
    (tmp_path / "reds/zero.png").symlink_to("/dev/zero")
    assert len(datasets.load(tmp_path)) == 1


@pytest.mark.parametrize("name", HOSTILE_JSON)
def test_a_sweep_whose_record_is_none(tmp_path: Path, name: str) -> None:
    (tmp_path / "trials.json").write_bytes(HOSTILE_JSON[name])
    with pytest.raises(LookalikeError) as raised:
        Record.load(tmp_path)
    one_line(raised)


@pytest.mark.parametrize(
    "trial", [{"id": "../x"}, {"settings": []}, {"state": "won"}, {"history": [{"map_at_r": "1"}]}]
)
def test_a_sweep_whose_trials_make_no_sense(tmp_path: Path, trial: dict[str, Any]) -> None:
    whole = {"id": "0" * 10, "settings": {}, "seed": 0, "data": "d"}
    (tmp_path / "trials.json").write_text(json.dumps({"plan": {}, "trials": [whole | trial]}))
    with pytest.raises(LookalikeError) as raised:
        Record.load(tmp_path)
    one_line(raised)


def test_a_sweep_whose_epochs_have_no_figures_is_read(tmp_path: Path) -> None:
    trial = {"id": "0" * 10, "settings": {}, "seed": 0, "data": "d", "history": [{"epoch": 1, "map_at_r": None}]}
    (tmp_path / "trials.json").write_text(json.dumps({"plan": {}, "trials": [trial | {"map_at_r": float("nan")}]}))
    (loaded,) = Record.load(tmp_path).trials.values()
    assert np.isnan(loaded.history[0]["map_at_r"]) and np.isnan(loaded.last_map_at_r)


@pytest.mark.parametrize("name", HOSTILE_JSON)
def test_a_checkpoint_whose_record_is_none_is_passed_over(tmp_path: Path, name: str) -> None:
    (tmp_path / "epoch-0001").mkdir()
    (tmp_path / "epoch-0001/progress.json").write_bytes(HOSTILE_JSON[name])
    (tmp_path / "epoch-0001/state.safetensors").write_bytes(b"x")
    assert checkpoints.latest(tmp_path) is None


@pytest.mark.parametrize(
    "content",
    [
        *(b"home = ", b"\xff", b"unknown = 1", b"concurrency = [1]", b"concurrency = {}", b"concurrency = inf"),
        *(b"concurrency = 9e999", b"concurrency = " + b"9" * 5_000, b"x = " + b"[" * 50_000),
    ],
)
def test_a_file_of_settings_that_makes_no_sense(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "lookalike.toml").write_bytes(content)
    with pytest.raises(BadSettings) as raised:
        settings_of.load({"LOOKALIKE_CONFIG": str(tmp_path / "lookalike.toml"), "LOOKALIKE_HOME": str(tmp_path)})
    one_line(raised)


def test_names_are_checked_where_they_come_in_by_hand(tmp_path: Path) -> None:
    registry = Registry(f"file://{tmp_path}")
    with pytest.raises(BadName):
        registry.activate("tiny", "../victim")
    assert not (tmp_path / "active.json").exists()
    assert isinstance(Active(ModelName("a"), CollectionName("b"), 1.0).model, str)
