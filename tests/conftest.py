"""What all tests share: photos, and a queue server."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from deploy.local import valkey
from tests.side_by_side import (  # noqa: F401
    pytest_collection_modifyitems,
    pytest_report_to_serializable,
    pytest_xdist_make_scheduler,
)

# A suite that a script starts in the background inherits that Ctrl-C is ignored, and so would every program it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).parents[2] / "shared" / "data"


def _shared(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"the photos of ../shared/data/{name} are not here")
    return folder


@pytest.fixture(scope="session")
def grocery() -> Path:
    """1,830 real photos in 61 classes: train/<class>/*.jpg and test/<class>/*.jpg."""
    return _shared("grocery")


@pytest.fixture(scope="session")
def odd() -> Path:
    """Uploads that break naive image code: good*, bad*, and two legal oddities."""
    return _shared("odd")


@pytest.fixture(scope="session")
def demo_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small labelled set that the project makes itself: 8 products, 6 views each."""
    from deploy import demo_photos

    folder = tmp_path_factory.mktemp("demo_photos")
    demo_photos.make(folder, products=8, views=6)
    return folder


@pytest.fixture(scope="session")
def queue_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Valkey server, on a socket of its own."""
    folder = tmp_path_factory.mktemp("valkey")
    socket = f"/tmp/lookalike-test-{os.getpid()}.sock"  # the path of a socket must be short
    command = [valkey.program(), "--port", "0", "--unixsocket", socket, "--dir", str(folder), "--save", ""]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        url = f"unix://{socket}"
        while not valkey.answers(url):
            assert server.poll() is None, "valkey ended"
            time.sleep(0.02)
        yield url
        server.terminate()


@pytest.fixture
def queue(queue_url: str) -> Iterator[redis.Redis]:
    """A connection to an empty queue server."""
    server = redis.Redis.from_url(queue_url, decode_responses=True)
    server.flushall()
    yield server
    server.close()
