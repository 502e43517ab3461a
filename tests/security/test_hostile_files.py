"""Everything that reads a file made elsewhere, with a table of hostile ones: one line says what is wrong, nothing is
written, nothing waits for ever."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml import records
from ml.data import datasets
from ml.data.datasets import BadDataset
from ml.errors import LookalikeError
from ml.model.registry import Active, Registry
from ml.names import BadName, CollectionName, JobName, ModelName, RunName
from ml.storage import open_storage
from ml.sweeps.record import Record
from ml.training import checkpoints
from tests.security.hostile import HEX, HOSTILE_JSON, HOSTILE_NAMES, ID, make_strange, one_line
from tests.workers.gallery.samples import photo
from workers import settings as settings_of
from workers.gallery import Gallery, metadata
from workers.messages import GalleryImage
from workers.settings import BadSettings


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


# Metadata

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
    lines = {left.line: left for left in loaded.left_out}
    assert len(loaded.left_out) == 3
    assert lines.keys() == {0 if name == "nothing" else 3, 4, 5}  # what merely is not there is told by its name
    assert all(left.reason and (not line or f"(line {line})" in left.place) for line, left in lines.items())


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
