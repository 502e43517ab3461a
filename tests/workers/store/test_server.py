"""What holds of a Qdrant server alone: what outsiders see of it, how collections are laid out, and its absence."""

import signal
import time
import uuid
import warnings
from pathlib import Path

import pytest
from qdrant_client import QdrantClient

from tests.processes import wait_for
from tests.workers.store.samples import DIM, ids, points, unit_vectors
from tests.workers.store.servers import free_ports, server_process
from workers import settings as settings_of
from workers.store import StoreFailed, codes, open_store
from workers.store.layout import Layout
from workers.store.server import ServerStore


class TestServer:
    def test_outsiders_find_the_active_collection_under_one_name(self, client: QdrantClient) -> None:
        store = ServerStore(client)
        first, second = (f"test-{uuid.uuid4().hex}" for _ in range(2))
        for collection in (first, second):
            store.ensure(collection, DIM)
            store.announce(collection)
            store.announce(collection)
            assert {a.alias_name: a.collection_name for a in client.get_aliases().aliases}["gallery"] == collection
        store.drop(second)
        store.announce(first)
        store.drop(first)

    @pytest.mark.parametrize("quantization", ["none", "int8", "binary"])
    def test_searches_by_codes_find_what_exact_ones_do(self, client: QdrantClient, quantization: str) -> None:
        store = ServerStore(client, Layout(on_disk=True, quantization=quantization))
        collection = f"test-{uuid.uuid4().hex}"
        store.ensure(collection, DIM)
        store.upsert(collection, points(50))
        hits = store.query(collection, unit_vectors(50)[7], 3)
        assert hits[0].id == ids(50)[7]
        assert hits[0].similarity == pytest.approx(1.0, abs=1e-5)
        store.drop(collection)

    @pytest.mark.parametrize("transport", ["http", "grpc"])
    def test_collections_are_laid_out_as_the_settings_say(self, transport: str, request: pytest.FixtureRequest) -> None:
        http_url = request.getfixturevalue(f"{transport}_url")
        settings = settings_of.load(
            {
                "LOOKALIKE_QDRANT_URL": http_url,
                "LOOKALIKE_QDRANT_SHARDS": "6",
                "LOOKALIKE_QDRANT_REPLICAS": "3",
                "LOOKALIKE_QDRANT_VECTORS": "disk",
                "LOOKALIKE_QDRANT_QUANTIZATION": "int8",
            }
        )
        store = open_store(settings)
        collection = f"test-{uuid.uuid4().hex}"
        store.ensure(collection, DIM)
        reader = QdrantClient(
            url=http_url,
            check_compatibility=False,
            prefer_grpc=transport == "grpc",
            grpc_port=int(http_url.rpartition(":")[2]) + 1,
        )
        config = reader.get_collection(collection).config
        assert (config.params.shard_number, config.params.replication_factor) == (6, 3)
        assert config.params.write_consistency_factor == 2
        assert config.params.vectors.on_disk
        assert config.quantization_config.scalar.always_ram
        store.drop(collection)
        store.close()

    @pytest.mark.parametrize("transport", ["http", "grpc"])
    def test_a_collection_that_became_large_gets_codes(
        self, transport: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = ServerStore.connect(request.getfixturevalue(f"{transport}_url"))
        collection = f"test-{uuid.uuid4().hex}"
        store.ensure(collection, DIM)
        store.upsert(collection, points(3))
        store.tend(collection)
        assert store._client.get_collection(collection).config.quantization_config is None
        monkeypatch.setattr(codes, "LARGE_BYTES", 3 * 4 * DIM)
        store.tend(collection)
        store.tend(collection)
        assert store._client.get_collection(collection).config.quantization_config.scalar.always_ram
        store.drop(collection)
        store.close()


class TestServerAway:
    """Over gRPC, whose errors are of another family than HTTP's."""

    def test_it_is_named_in_plain_words_and_comes_back_by_itself(self, tmp_path: Path) -> None:
        port = free_ports()
        with server_process(tmp_path, port) as (server, url):
            store = ServerStore.connect(url)
            store.ensure("photos", DIM)
            store.upsert("photos", points(3))
            server.kill()
            server.wait()
            with pytest.raises(StoreFailed, match="the vector store does not answer") as failed:
                store.count("photos")
            assert failed.value.passes
            assert store.problem() == "the vector store does not answer"
        with server_process(tmp_path, port):
            wait_for(lambda: not store.problem(), timeout_s=20)
            assert store.count("photos") == 3
            store.close()

    def test_nobody_waits_for_one_that_is_stopped_once_that_is_known(self, tmp_path: Path) -> None:
        with server_process(tmp_path, free_ports()) as (server, url):
            store = ServerStore.connect(url)
            store.ensure("photos", DIM)
            server.send_signal(signal.SIGSTOP)
            with pytest.raises(StoreFailed):
                store.count("photos")
            started = time.monotonic()
            for _ in range(20):
                with pytest.raises(StoreFailed, match="does not answer"):
                    store.count("photos")
            assert time.monotonic() - started < 15, "each of them waited"
            server.send_signal(signal.SIGCONT)
            wait_for(lambda: not store.problem(), timeout_s=60)
            assert store.count("photos") == 0
            store.close()

    def test_a_wrong_key_is_no_absence(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("QDRANT__SERVICE__API_KEY", "right")
        with server_process(tmp_path, free_ports()) as (_, url):
            with pytest.raises(StoreFailed, match="rejects us") as refused:
                ServerStore.connect(url, "wrong")
            assert not refused.value.passes
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                ServerStore.connect(url, "right").close()
