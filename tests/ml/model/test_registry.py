"""Published models, on this machine and in a bucket: what is registered, active, and was before."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from ml.errors import BadBundle, UnknownModel
from ml.model.bundle import Bundle, sha256_of
from ml.model.default import ensure_registered
from ml.model.network import EmbeddingModel
from ml.model.registry import DEFAULT_MODEL, Active, Building, ModelInUse, Registry
from ml.model.save import save_bundle
from ml.preprocessing import Preprocessing
from ml.records import Damaged
from ml.storage import open_storage

TINY = Preprocessing(32, 32, "squash", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), False)


@pytest.fixture(params=["file", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "file":
        return f"file://{tmp_path}/models"
    return f"{request.getfixturevalue('bucket')}/{tmp_path.name}"


@pytest.fixture
def registry(root: str) -> Registry:
    return Registry(root)


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three different small models, all named "tiny"."""
    folders = []
    for seed in range(3):
        torch.manual_seed(seed)
        folders.append(tmp_path_factory.mktemp("bundles") / "tiny")
        save_bundle(EmbeddingModel("resnet10t", TINY, dim=8), folders[-1], name="tiny", metrics={"map@r": seed / 10})
    return folders


@pytest.fixture(scope="session")
def tiny_compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Registering compiles a network to check it, and these tests register the same few again and again."""
    return tmp_path_factory.mktemp("compiled_tiny")


class TestModels:
    def test_a_registered_model_is_listed_and_comes_back_whole(self, registry, bundles, tiny_compiled, tmp_path):
        name = registry.register(bundles[1], cache_dir=tiny_compiled)
        (record,) = registry.models()
        assert (name, record.name, record.dim, record.metrics) == ("tiny", "tiny", 8, {"map@r": 0.1})
        fetched = Bundle.load(registry.fetch(name, tmp_path / "cache"))
        assert fetched.sha256 == Bundle.load(bundles[1]).sha256 == record.sha256

    def test_the_same_model_is_registered_once_and_another_gets_a_version(self, registry, bundles, tiny_compiled):
        names = [registry.register(folder, cache_dir=tiny_compiled) for folder in (*bundles, *bundles)]
        assert names == ["tiny", "tiny-v2", "tiny-v3"] * 2
        assert [record.name for record in registry.models()] == ["tiny", "tiny-v2", "tiny-v3"]

    def test_a_model_carries_the_name_that_it_is_registered_under(self, registry, bundles, tiny_compiled, tmp_path):
        registry.register(bundles[0], "best", cache_dir=tiny_compiled)
        assert Bundle.load(registry.fetch("best", tmp_path)).name == "best"

    def test_a_damaged_bundle_is_not_registered(self, registry, bundles, tiny_compiled, tmp_path):
        damaged = Path(shutil.copytree(bundles[0], tmp_path / "damaged"))
        (damaged / "network.onnx").write_bytes(b"")
        with pytest.raises(BadBundle):
            registry.register(damaged, cache_dir=tiny_compiled)
        assert registry.models() == []

    def test_a_model_that_gives_another_golden_vector_is_not_registered(
        self, registry, bundles, tiny_compiled, tmp_path
    ):
        # Intact by its checksums, but its golden vector is of another network.
        changed = Path(shutil.copytree(bundles[0], tmp_path / "changed"))
        facts = json.loads((changed / "model.json").read_text())
        golden = load_file(changed / "golden.safetensors")
        save_file(golden | {"embedding": np.roll(golden["embedding"], 1)}, changed / "golden.safetensors")
        facts["files"]["golden.safetensors"] = sha256_of(changed / "golden.safetensors")
        (changed / "model.json").write_text(json.dumps(facts))
        with pytest.raises(BadBundle, match="gives another vector"):
            registry.register(changed, cache_dir=tiny_compiled)
        assert registry.models() == []

    def test_a_half_written_model_does_not_count(self, registry, bundles, tiny_compiled, monkeypatch):
        put = registry._storage.put

        def fail_at_the_end(key, data):
            if key.endswith("model.json"):
                raise KeyboardInterrupt
            put(key, data)

        with monkeypatch.context() as patch:
            patch.setattr(registry._storage, "put", fail_at_the_end)
            with pytest.raises(KeyboardInterrupt):
                registry.register(bundles[0], cache_dir=tiny_compiled)
        assert registry.models() == []
        assert registry.register(bundles[0], cache_dir=tiny_compiled) == "tiny"

    @pytest.mark.parametrize("name", ["", "missing", "../secrets", "a/b", ".hidden", "active.json"])
    def test_a_name_that_is_not_there_is_an_error(self, registry, name, tmp_path):
        with pytest.raises(UnknownModel):
            registry.record(name)
        with pytest.raises(UnknownModel):
            registry.fetch(name, tmp_path)

    def test_workers_may_fetch_at_once(self, registry, bundles, tiny_compiled, tmp_path):
        registry.register(bundles[0], cache_dir=tiny_compiled)
        with ThreadPoolExecutor(4) as threads:
            folders = set(threads.map(lambda _: registry.fetch("tiny", tmp_path / "cache"), range(4)))
        assert len(folders) == 1
        Bundle.load(folders.pop())

    def test_a_model_in_use_stays_and_another_goes(self, registry, bundles, tiny_compiled):
        for folder in bundles:
            registry.register(folder, cache_dir=tiny_compiled)
        registry.activate("tiny", "one")
        registry.activate("tiny-v2", "two")
        registry.begin_building(Building("tiny-v3", "three", "job"))
        for name, why in [("tiny", "rollback returns to"), ("tiny-v2", "answers searches"), ("tiny-v3", "being built")]:
            with pytest.raises(ModelInUse, match=why):
                registry.remove(name)
        registry.end_building("job")
        registry.remove("tiny-v3")
        assert [record.name for record in registry.models()] == ["tiny", "tiny-v2"]

    def test_what_was_removed_is_brought_back_by_name_or_by_registering_it_again(
        self, registry, bundles, tiny_compiled, tmp_path
    ):
        registry.activate("other", "one")
        registry.register(bundles[0], cache_dir=tiny_compiled)
        before = registry.record("tiny")
        registry.remove("tiny")
        assert registry.models() == []
        assert registry.register(bundles[1], cache_dir=tiny_compiled) == "tiny-v2", "its name is not given away"
        registry.restore("tiny")
        assert registry.record("tiny") == before
        Bundle.load(registry.fetch("tiny", tmp_path / "cache"))
        registry.remove("tiny")
        assert registry.register(bundles[0], cache_dir=tiny_compiled) == "tiny"
        with pytest.raises(UnknownModel, match="there is no removed model tiny"):
            registry.restore("tiny")

    def test_what_was_removed_long_ago_goes_for_good(self, registry, root, bundles, tiny_compiled):
        registry.activate("other", "one")
        for folder in bundles[:2]:
            registry.register(folder, cache_dir=tiny_compiled)
        registry.remove("tiny")
        until = time.time()
        registry.remove("tiny-v2")
        registry.forget_removed(until)
        assert {key.split("/")[0] for key in open_storage(root).keys("") if "tiny" in key} == {"tiny-v2"}


class TestActive:
    def test_nothing_is_active_at_first(self, registry):
        assert (registry.active(), registry.previous(), registry.history()) == (None, None, [])

    def test_another_process_sees_the_switch(self, registry, root):
        registry.activate("a", "collection-a")
        seen = Registry(root).active()
        assert (seen.model, seen.collection) == ("a", "collection-a")

    def test_what_was_before_can_be_returned_to(self, registry):
        for name in "abc":
            registry.activate(name, f"collection-{name}")
        before = registry.previous()
        assert (before.model, before.collection) == ("b", "collection-b")
        registry.activate(before.model, before.collection)
        assert registry.active().model == "b"
        assert registry.previous().model == "c"

    def test_activating_what_is_active_forgets_nothing(self, registry):
        registry.activate("a", "one")
        registry.activate("b", "two")
        registry.activate("b", "two")
        assert registry.previous().model == "a"

    def test_the_history_holds_each_collection_once_however_often_it_was_active(self, registry):
        for name in "ababcb":
            registry.activate(name, f"collection-{name}")
        assert [entry.model for entry in registry.history()] == ["c", "a"]
        assert registry.retain(2)[0].model == "a"
        assert [entry.model for entry in registry.history()] == ["c"]

    def test_old_collections_can_be_dropped(self, registry):
        for name in "abcd":
            registry.activate(name, f"collection-{name}")
        assert [entry.model for entry in registry.retain(2)] == ["b", "a"]
        assert registry.previous().model == "c"
        assert registry.retain(2) == []

    def test_what_is_being_built_is_remembered(self, registry, root):
        for collection in ("zero", "one"):
            registry.begin_building(Building("a", collection, "job-1"))
        registry.begin_building(Building("b", "two", "job-2"))
        assert Registry(root).building() == [Building("a", "one", "job-1"), Building("b", "two", "job-2")]
        assert registry.end_building("job-1") == [Building("a", "one", "job-1")]
        assert registry.end_building("job-1") == []
        assert registry.building() == [Building("b", "two", "job-2")]

    def test_a_publish_begun_while_another_is_forgotten_is_not_lost(self, root):
        """A folder's locks hold between processes, which two registries stand for; a bucket needs one more."""
        lock = threading.Lock()
        one, other = (Registry(root, hold=lambda key: lock) for _ in range(2))
        one.begin_building(Building("a", "one", "job-1"))
        reading, write = threading.Event(), one._write

        def slow(key, value):
            reading.set()
            time.sleep(0.2)
            write(key, value)

        one._write = slow
        with ThreadPoolExecutor(1) as thread:
            forgotten = thread.submit(one.end_building, "job-1")
            reading.wait()
            other.begin_building(Building("b", "two", "job-2"))
            forgotten.result()
        assert other.building() == [Building("b", "two", "job-2")]


class TestDamage:
    """A file of the registry was emptied, cut short, overwritten or lost."""

    @pytest.fixture
    def registry(self, tmp_path: Path) -> Registry:
        registry = Registry(f"file://{tmp_path}/models")
        for name in "ab":
            registry.activate(name, f"collection-{name}")
        registry.begin_building(Building("c", "collection-c", "job-1"))
        return registry

    @pytest.fixture(params=[b"", b'{"model": "b", "coll', b"\0" * 90, b"[]", b"{}", b'[{"model": 1}]', None])
    def spoil(self, request, tmp_path):
        def spoil(name: str) -> None:
            path = tmp_path / "models" / name
            path.unlink() if request.param is None else path.write_bytes(request.param)

        return spoil

    def test_the_history_knows_what_is_active(self, registry, spoil):
        spoil("active.json")
        assert registry.active().collection == "collection-b"
        assert registry.previous().collection == "collection-a"
        (mended,) = registry.repair()
        assert mended.startswith("models/active.json ")
        assert mended.endswith("; restored: model b, collection collection-b")
        assert registry.repair() == []
        assert registry.named().collection == "collection-b"
        assert registry.previous().collection == "collection-a"
        assert registry.damaged() == []

    def test_a_lost_history_costs_the_way_back_alone(self, registry, spoil):
        spoil("history.json")
        assert registry.active().collection == "collection-b"
        registry.repair()
        registry.activate("c", "collection-c")
        assert registry.previous().collection == "collection-b"
        assert registry.damaged() == []

    def test_what_was_being_built_is_forgotten(self, registry, spoil):
        spoil("building.json")
        assert registry.building() == []
        registry.repair()
        assert registry.damaged() == []

    def test_a_worker_writes_what_it_answers_from(self, registry, spoil):
        spoil("active.json")
        spoil("history.json")
        registry.repair(Active("b", "collection-b", 0.0))
        assert registry.active().collection == "collection-b"
        assert registry.damaged() == []

    def test_a_home_of_an_earlier_version_goes_back_to_the_one_before(self, registry, tmp_path):
        history = tmp_path / "models" / "history.json"
        history.write_text(json.dumps(json.loads(history.read_text())[1:]))
        (tmp_path / "models" / "active.json").write_bytes(b"")
        assert registry.active().collection == "collection-a"

    def test_it_is_told_until_it_is_mended(self, tmp_path, registry):
        found: dict[str, str] = {}
        log = SimpleNamespace(
            found=lambda damaged: found.update({damaged.key: damaged.message}),
            mended=lambda key: found.pop(key, None),
            known=lambda: list(found),
        )
        (tmp_path / "models" / "active.json").write_bytes(b"")
        told = Registry(f"file://{tmp_path}/models", log)
        told.active()
        assert found == {"models/active.json": "models/active.json is damaged: it is empty"}
        told.repair()
        assert found == {}


def test_a_model_that_cannot_be_read_is_left_out_and_named(registry, bundles, tiny_compiled, root):
    for folder in bundles:
        registry.register(folder, cache_dir=tiny_compiled)
    registry._storage.put("tiny-v2/model.json", b'{"format"')
    assert [record.name for record in registry.models()] == ["tiny", "tiny-v3"]
    with pytest.raises(Damaged, match=r"models/tiny-v2/model\.json is damaged"):
        registry.record("tiny-v2")
    assert [damaged.key for damaged in registry.damaged()] == ["models/tiny-v2/model.json"]


def test_registering_takes_relative_paths_and_loads_no_torch(bundles, tmp_path):
    shutil.copytree(bundles[0], tmp_path / "exported")
    code = (
        "import sys; from pathlib import Path; from ml.model.registry import Registry\n"
        "registry = Registry('file://' + str(Path('models').absolute()))\n"
        "registry.register(Path('exported'), cache_dir=Path('compiled'))\n"
        "assert 'torch' not in sys.modules"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    assert [record.name for record in Registry(f"file://{tmp_path}/models").models()] == ["tiny"]
    assert len(list((tmp_path / "compiled").rglob("network.xml"))) == 1


def test_the_default_model_is_made_once(tmp_path):
    registry = Registry(f"file://{tmp_path}/models")
    assert ensure_registered(registry, tmp_path / "work") == DEFAULT_MODEL
    (record,) = registry.models()
    assert (record.backbone, record.dim) == ("tf_efficientnet_lite0", 1280)
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["compiled"]
    assert ensure_registered(registry, tmp_path / "missing") == DEFAULT_MODEL
    (tmp_path / "models" / DEFAULT_MODEL / "model.json").write_bytes(b"")
    assert ensure_registered(registry, tmp_path / "work") == DEFAULT_MODEL
    assert [mended.sha256 for mended in registry.models()] == [record.sha256]
    (record,) = registry.models()
    assert ensure_registered(registry, tmp_path / "missing") == DEFAULT_MODEL
    assert registry.models() == [record] and not (tmp_path / "missing").exists()
