"""One contract, every engine: Edge, qdrant-client's local mode, Qdrant's interfaces HTTP and gRPC, and a real server.

The last is that of LOOKALIKE_QDRANT_URL, where that is set.
"""

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient
from werkzeug.serving import make_server

from tests import qdrant_over_http
from tests.processes import free_port, listens, wait_for
from workers import settings as settings_of
from workers.messages import GalleryImage, Selection
from workers.store import Payload, Place, Point, Store, StoreBusy, StoreFailed, codes, open_store
from workers.store.edge import EdgeStore
from workers.store.examples import Examples
from workers.store.server import Layout, ServerStore
from workers.store.shard import Shard

DIM = 16


def ids(n: int) -> list[str]:
    return [hashlib.sha256(str(i).encode()).hexdigest()[:32] for i in range(n)]


def unit_vectors(n: int, dim: int = DIM, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def points(n: int) -> list[Point]:
    labels = ["Lime", "Red/Apple", None]
    return [
        Point(id, vector, Payload(f"photos/{i}.jpg", labels[i % 3]))
        for i, (id, vector) in enumerate(zip(ids(n), unit_vectors(n), strict=True))
    ]


NOW = 1_795_500_000


def gallery(n: int) -> list[Point]:
    """Points of images that were added a second after each other, the first few taken a day before each other."""
    labels = ["Lime", "Red Apple", None]
    return [
        Point(
            id,
            vector,
            Payload.of(
                GalleryImage(
                    id,
                    "",
                    f"photos/{i % 4}/IMG_{i:04}.jpg",
                    labels[i % 3],
                    1,
                    1,
                    "JPEG",
                    1,
                    NOW + i,
                    taken_at=NOW - i * 86_400 if i < 6 else None,
                )
            ),
        )
        for i, (id, vector) in enumerate(zip(ids(n), unit_vectors(n), strict=True))
    ]


def tied(n: int) -> list[Point]:
    """Points of images that were added at the same moment, in the middle of the others."""
    at = 1_000_000 * (NOW + 12)
    return [
        Point(id, vector, Payload("tied.jpg", None, newest=at))
        for id, vector in zip(ids(100 + n)[100:], unit_vectors(n, seed=1), strict=True)
    ]


@pytest.fixture(params=["edge", "local", "http", "grpc", "server"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store
    if request.param == "edge":
        made = EdgeStore(tmp_path)
    elif request.param == "local":
        made = ServerStore(QdrantClient(":memory:"))
    elif request.param == "http":
        made = ServerStore.connect(request.getfixturevalue("http_url"))
    elif request.param == "grpc":
        made = ServerStore.connect(request.getfixturevalue("grpc_url"))
        assert made._client.init_options["prefer_grpc"]
    else:
        url = os.environ.get("LOOKALIKE_QDRANT_URL")
        if not url:
            pytest.skip("LOOKALIKE_QDRANT_URL names no Qdrant server")
        made = ServerStore.connect(url, os.environ.get("LOOKALIKE_QDRANT_API_KEY", ""))
    yield made
    made.close()


@pytest.fixture(params=["local", "http", "grpc", "server"])
def client(request: pytest.FixtureRequest) -> Iterator[QdrantClient]:
    """What another program would read the vector database with."""
    if request.param == "local":
        made = QdrantClient(":memory:")
    else:
        url = os.environ.get("LOOKALIKE_QDRANT_URL") if request.param == "server" else None
        if request.param == "server" and not url:
            pytest.skip("LOOKALIKE_QDRANT_URL names no Qdrant server")
        key = os.environ.get("LOOKALIKE_QDRANT_API_KEY") if url else None
        is_grpc = request.param == "grpc"
        url = url or request.getfixturevalue("grpc_url" if is_grpc else "http_url")
        port = int(url.rpartition(":")[2]) + 1
        made = QdrantClient(url=url, api_key=key, check_compatibility=False, prefer_grpc=is_grpc, grpc_port=port)
    yield made
    made.close()


@pytest.fixture(scope="module")
def http_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Qdrant's HTTP interface, over a real socket."""
    engine = EdgeStore(tmp_path_factory.mktemp("http"))
    server = make_server("127.0.0.1", 0, qdrant_over_http.make_app(engine), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    engine.close()


@pytest.fixture(scope="module")
def grpc_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Both of Qdrant's interfaces, in a process of their own. The address is that of HTTP."""
    with server_process(tmp_path_factory.mktemp("grpc"), free_ports()) as (_, url):
        yield url


def free_ports() -> int:
    """A free port, and so is the one behind it."""
    while True:
        port = free_port()
        with socket.socket() as behind, contextlib.suppress(OSError):
            behind.bind(("127.0.0.1", port + 1))
            return port


@contextlib.contextmanager
def server_process(folder: Path, port: int) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """The stand-in, once it answers over both interfaces."""
    command = [sys.executable, "-m", "tests.qdrant_over_grpc", "127.0.0.1", str(port), str(folder)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2]) as server:
        for each in (port, port + 1):
            wait_for(lambda each=each: listens(each))
        yield server, f"http://127.0.0.1:{port}"
        server.kill()


@pytest.fixture
def collection(store: Store) -> Iterator[str]:
    name = f"test-{uuid.uuid4().hex}"
    store.ensure(name, DIM)
    yield name
    store.drop(name)


class TestStore:
    def test_it_finds_what_was_written_best_first(self, store: Store, collection: str) -> None:
        written = points(50)
        store.upsert(collection, written)
        hits = store.query(collection, written[7].vector, 10, with_vectors=True)
        assert hits[0].id == written[7].id
        assert hits[0].similarity == pytest.approx(1.0, abs=1e-5)
        assert hits[0].payload == written[7].payload
        assert hits[0].vector is not None
        np.testing.assert_allclose(hits[0].vector, written[7].vector, atol=1e-6)
        expected = np.sort(unit_vectors(50) @ written[7].vector)[::-1][:10]
        np.testing.assert_allclose([hit.similarity for hit in hits], expected, atol=1e-5)

    @pytest.mark.parametrize("unlike", [0, 2])
    def test_several_examples_rank_by_their_mean_away_from_what_is_not_meant(
        self, store: Store, collection: str, unlike: int
    ) -> None:
        written = points(50)
        store.upsert(collection, written)
        vectors = unit_vectors(50)
        examples = Examples(vectors[:3], vectors[3 : 3 + unlike])
        wanted = vectors[:3].mean(axis=0) * (2 if unlike else 1) - (vectors[3:5].mean(axis=0) if unlike else 0)
        expected = np.argsort(-(vectors @ wanted))[:10]
        hits = store.recommend(collection, examples, 10)
        assert [hit.id for hit in hits] == [written[i].id for i in expected]
        np.testing.assert_allclose(
            [hit.similarity for hit in hits], (vectors @ vectors[:3].T).max(axis=1)[expected], atol=1e-5
        )

    def test_the_best_of_several_examples_counts_and_what_is_nearer_to_one_that_is_not_meant_comes_last(
        self, store: Store, collection: str
    ) -> None:
        written = points(50)
        store.upsert(collection, written)
        vectors = unit_vectors(50)
        like, unlike = (vectors @ vectors[some].T for some in (slice(0, 2), slice(2, 4)))
        hits = store.recommend(collection, Examples(vectors[:2], vectors[2:4], "best"), 50)
        is_meant = like.max(axis=1) > unlike.max(axis=1)
        meant = [i for i in np.argsort(-like.max(axis=1)) if is_meant[i]]
        first = hits[: len(meant)]
        assert {hit.id for hit in first} == {written[i].id for i in meant}
        np.testing.assert_allclose([hit.similarity for hit in first], like.max(axis=1)[meant], atol=1e-5)
        assert hits[-1].id in (written[2].id, written[3].id)

    def test_several_examples_filter_by_label(self, store: Store, collection: str) -> None:
        store.upsert(collection, points(30))
        for strategy in ("average", "best"):
            hits = store.recommend(collection, Examples(unit_vectors(2), strategy=strategy), 30, label="Lime")
            assert [hit.payload.label for hit in hits] == 10 * ["Lime"]

    def test_it_filters_by_label(self, store: Store, collection: str) -> None:
        store.upsert(collection, points(30))
        hits = store.query(collection, unit_vectors(1)[0], 100, label="Red/Apple")
        assert len(hits) == 10
        assert {hit.payload.label for hit in hits} == {"Red/Apple"}
        assert store.query(collection, unit_vectors(1)[0], 5, label="nothing has this") == []

    def test_it_counts_labels_most_frequent_first(self, store: Store, collection: str) -> None:
        store.upsert(collection, points(31))
        assert list(store.labels(collection).items()) == [("Lime", 11), ("Red/Apple", 10)]

    def test_a_label_that_nothing_carries_any_more_is_none(self, store: Store, collection: str) -> None:
        written = points(3)
        store.upsert(collection, written)
        store.set_payloads(collection, {written[0].id: Payload("elsewhere.jpg", "Lemon")})
        store.delete(collection, [written[1].id])
        assert store.labels(collection) == {"Lemon": 1}

    def test_writing_twice_changes_nothing(self, store: Store, collection: str) -> None:
        store.upsert(collection, points(20))
        store.upsert(collection, points(20))
        assert store.count(collection) == 20

    def test_it_replaces_payloads_of_points_that_exist_only(self, store: Store, collection: str) -> None:
        store.upsert(collection, points(3))
        known, unknown = ids(4)[0], ids(4)[3]
        new = Payload("elsewhere.jpg", None)
        store.set_payloads(collection, {known: new, unknown: new})
        assert {id: point.payload for id, point in store.fetch(collection, [known, unknown]).items()} == {known: new}
        assert store.count(collection) == 3

    def test_it_deletes(self, store: Store, collection: str) -> None:
        store.upsert(collection, points(5))
        store.delete(collection, ids(2))
        assert store.count(collection) == 3
        assert store.fetch(collection, ids(2)) == {}

    def test_it_lists_points_in_order_and_in_pages(self, store: Store, collection: str) -> None:
        store.upsert(collection, points(25))
        first = list(store.points(collection, limit=10))
        rest = list(store.points(collection, after=first[-1].id))
        assert [point.id for point in first + rest] == sorted(ids(25))
        assert len(list(store.points(collection, label="Lime", limit=4))) == 4
        assert list(store.points(collection, after=32 * "f")) == []

    def test_the_newest_come_first_in_pages_without_gaps(self, store: Store, collection: str) -> None:
        written = [*gallery(25), *tied(11)]
        store.upsert(collection, written)
        found: list[str] = []
        last = None
        while page := store.newest(collection, Selection(), after=last, limit=10):
            found += [point.id for point in page]
            assert len(found) <= len(written)
            last = Place.of(page[-1])
        assert found == [point.id for point in sorted(written, key=lambda point: (-point.payload.newest, point.id))]

    @pytest.mark.parametrize(
        "selection, expected",
        [
            (Selection(), range(24)),
            (Selection(label="Lime"), range(0, 24, 3)),
            (Selection(unlabelled=True), range(2, 24, 3)),
            (Selection(folder="photos/1"), range(1, 24, 4)),
            (Selection(text="img_000"), range(10)),
            (Selection(text="IMG_0004.jpg"), [4]),
            (Selection(text="app img"), range(1, 24, 3)),
            (Selection(text="nothing"), []),
            (Selection(added_from=NOW + 5, added_before=NOW + 9), range(5, 9)),
            (Selection(taken_from=NOW - 3 * 86_400, taken_before=NOW - 86_400), [2, 3]),
            (Selection(label="Lime", folder="photos/0", added_from=NOW + 1), [12]),
        ],
        ids=str,
    )
    def test_images_are_selected(
        self,
        request: pytest.FixtureRequest,
        store: Store,
        collection: str,
        selection: Selection,
        expected: Iterable[int],
    ) -> None:
        if request.node.callspec.params["store"] == "local" and selection.text in ("img_000", "app img"):
            pytest.skip("qdrant-client's local mode has no text index, so it matches whole words")
        store.upsert(collection, gallery(24))
        found = store.newest(collection, selection, after=None, limit=100)
        assert [point.id for point in found] == [ids(24)[n] for n in sorted(expected, reverse=True)]
        assert store.count(collection, selection) == len(found)

    def test_it_counts_folders(self, store: Store, collection: str) -> None:
        store.upsert(collection, gallery(9))
        assert store.folders(collection) == {"photos/0": 3, "photos/1": 2, "photos/2": 2, "photos/3": 2}

    def test_an_existing_collection_with_another_dimension_is_refused(self, store: Store, collection: str) -> None:
        store.ensure(collection, DIM)
        with pytest.raises(StoreFailed, match="16 numbers, not 8"):
            store.ensure(collection, 8)

    def test_a_dropped_collection_is_gone(self, store: Store, collection: str) -> None:
        assert collection in store.collections()
        store.drop(collection)
        assert collection not in store.collections()
        store.drop(collection)


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
            assert time.monotonic() - started < 5, "each of them waited"
            server.send_signal(signal.SIGCONT)
            wait_for(lambda: not store.problem(), timeout_s=20)
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


class TestEdge:
    def test_everything_is_there_after_it_was_opened_again(self, tmp_path: Path) -> None:
        store = EdgeStore(tmp_path)
        store.ensure("photos", DIM)
        store.upsert("photos", points(20))
        store.close()
        again = EdgeStore(tmp_path)
        assert again.count("photos") == 20
        assert again.labels("photos") == {"Lime": 7, "Red/Apple": 7}
        again.close()

    @pytest.mark.parametrize("longest_log", [20_000, 25], ids=["from the log", "flushed in between"])
    def test_acknowledged_points_survive_kill_9(self, tmp_path: Path, longest_log: int) -> None:
        program = f"""
import os, signal
from pathlib import Path
from tests.workers.test_store import *
from workers.store import shard
shard._LONGEST_LOG = {longest_log}
store = EdgeStore(Path({str(tmp_path)!r}))
store.ensure("photos", DIM)
for point in points(60):
    store.upsert("photos", [point])
os.kill(os.getpid(), signal.SIGKILL)
"""
        subprocess.run([sys.executable, "-c", program], check=False, cwd=Path(__file__).parents[2])
        store = EdgeStore(tmp_path)
        kept = store.fetch("photos", ids(60), with_vectors=True)
        assert {point.id: point.payload for point in points(60)} == {id: kept[id].payload for id in kept}
        np.testing.assert_allclose(np.stack([kept[id].vector for id in ids(60)]), unit_vectors(60), atol=1e-6)
        store.close()

    @pytest.mark.parametrize(
        "name",
        [
            "current",
            "collection.json",
            "0/edge_config.json",
            "0/wal/first-index",
            "0/segments/*/segment.json",
            "0/segments/*/vector_storage/vectors/status.dat",
            "0/segments/*/vector_storage/vectors/chunk_0.mmap",
            "0/segments/*/payload_storage/config.json",
        ],
    )
    def test_a_damaged_collection_is_set_aside_told_and_begun_anew(self, tmp_path: Path, name: str) -> None:
        store = EdgeStore(tmp_path)
        store.ensure("photos", DIM)
        store.upsert("photos", points(20))
        store.ensure("others", DIM)
        store.close()
        for file in (tmp_path / "photos").glob(name):
            os.truncate(file, 0)
        told: dict[str, str] = {}
        log: Any = SimpleNamespace(found=lambda damaged: told.update({damaged.key: damaged.message}))
        again = EdgeStore(tmp_path, log)
        again.ensure("photos", DIM)
        assert again.count("photos") == 0
        assert list(told) == ["collections/photos"]
        assert "being made anew" in told["collections/photos"]
        again.upsert("photos", points(20))
        assert again.collections() == ["others", "photos"]
        assert (tmp_path / ".damaged-photos").is_dir()
        again.drop("photos")
        assert again.collections() == ["others"]
        assert not (tmp_path / ".damaged-photos").exists()
        again.close()

    def test_what_the_system_refuses_is_no_damage(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store = EdgeStore(tmp_path)
        store.ensure("photos", DIM)
        store.upsert("photos", points(20))
        store.close()
        refusals = [
            OSError(24, "Too many open files"),
            Exception("Service runtime error: IO Error: No space left on device (os error 28)"),
            Exception("Service runtime error: failed to open WAL: Can't init WAL: WouldBlock"),
        ]
        for refusal in refusals:

            def load(path: Path, refusal: Exception = refusal) -> Shard:
                raise refusal

            with monkeypatch.context() as patch:
                patch.setattr(Shard, "_load", load)
                store = EdgeStore(tmp_path)
                with pytest.raises(StoreFailed, match="cannot be opened"):
                    store.ensure("photos", DIM)
                store.close()
        store = EdgeStore(tmp_path)
        assert store.count("photos") == 20
        store.close()

    def test_a_second_owner_is_told_who_owns_it(self, tmp_path: Path) -> None:
        store = EdgeStore(tmp_path)
        with pytest.raises(StoreBusy, match=f"process {os.getpid()}"):
            EdgeStore(tmp_path)
        store.close()
        EdgeStore(tmp_path).close()

    def test_changes_made_while_a_copy_is_optimised_are_kept(self, tmp_path: Path) -> None:
        store = EdgeStore(tmp_path)
        store.ensure("photos", DIM)
        written = points(40)
        store.upsert("photos", written[:30])
        shard = store._shard("photos")
        shard.copy_for_optimising()
        store.upsert("photos", written[30:])
        store.delete("photos", [written[0].id])
        store.set_payloads("photos", {written[1].id: Payload("moved.jpg", "moved")})
        shard.exchange()
        assert store.count("photos") == 39
        assert store.fetch("photos", [written[0].id]) == {}
        assert store.fetch("photos", [written[1].id])[written[1].id].payload.label == "moved"
        store.close()
        again = EdgeStore(tmp_path)
        assert again.count("photos") == 39
        again.close()

    def test_searches_go_on_while_the_shard_is_exchanged(self, tmp_path: Path) -> None:
        store = EdgeStore(tmp_path)
        store.ensure("photos", DIM)
        store.upsert("photos", points(200))
        stop, failures, answers = threading.Event(), list[BaseException](), list[int]()

        def search() -> None:
            while not stop.is_set():
                try:
                    answers.append(len(store.query("photos", unit_vectors(1)[0], 5)))
                except BaseException as error:
                    failures.append(error)

        threads = [threading.Thread(target=search) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(2):
            shard = store._shard("photos")
            shard.copy_for_optimising()
            shard.exchange()
        stop.set()
        for thread in threads:
            thread.join()
        assert not failures
        assert set(answers) == {5}
        store.close()
