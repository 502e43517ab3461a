"""Every engine that a test of stores runs on."""

import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from qdrant_client import QdrantClient
from werkzeug.serving import make_server

from tests import qdrant_over_http
from tests.workers.store.samples import DIM
from tests.workers.store.servers import free_ports, server_process
from workers.store import Store
from workers.store.edge import EdgeStore
from workers.store.server import ServerStore


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


@pytest.fixture
def collection(store: Store) -> Iterator[str]:
    name = f"test-{uuid.uuid4().hex}"
    store.ensure(name, DIM)
    yield name
    store.drop(name)
