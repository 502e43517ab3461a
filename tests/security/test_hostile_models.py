"""Models and registries that were made elsewhere: one line says what is wrong, and nothing is written."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from ml import tensors
from ml.errors import BadBundle
from ml.model.bundle import AS_NEW, GOLDEN_VECTOR, HEAD, Bundle, sha256_of
from ml.model.registry import Registry
from ml.names import MODEL_JSON
from ml.records import Damaged
from ml.storage import open_storage
from ml.tuning.left_out import AsNew
from tests.security.hostile import HEX, HOSTILE_ENTRIES, HOSTILE_JSON, HOSTILE_NAMES, TINY, make_strange, one_line


@pytest.fixture
def bundle(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def change(bundle: Path, **facts: Any) -> None:
    path = bundle / MODEL_JSON
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


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


_TWO = np.zeros((2, 8), np.uint8)
HOSTILE_AS_NEW = HOSTILE_TENSORS | {
    "no square": save({"photos": _TWO, "similarities": np.zeros((2, 3), np.float16)}),
    "similarities of other photos": save({"photos": _TWO, "similarities": np.zeros((1, 1), np.float16)}),
    "similarities that are no numbers": save({"photos": _TWO, "similarities": np.full((2, 2), np.nan, np.float16)}),
    "photos of another length": save({"photos": np.zeros((2, 9), np.uint8), "similarities": np.eye(2, dtype="f2")}),
}


@pytest.mark.parametrize("name", HOSTILE_AS_NEW)
def test_what_photos_would_find_that_makes_no_sense(bundle: Path, name: str) -> None:
    (bundle / AS_NEW).write_bytes(HOSTILE_AS_NEW[name])
    files = json.loads((bundle / MODEL_JSON).read_text())["files"]
    change(bundle, files=files | {AS_NEW: sha256_of(bundle / AS_NEW)})
    with pytest.raises(BadBundle) as raised:
        AsNew.load(Bundle.load(bundle))
    one_line(raised)


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
