"""The parts as an operator runs them: a queue of one's own, `lookalike worker`, `lookalike web`."""

import json
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.local import valkey
from tests.e2e.conftest import Program
from tests.e2e.test_commands import photos
from tests.processes import free_port, wait_for
from tests.workers.store.servers import free_ports, server_process
from workers import settings as settings_of
from workers.client import Client
from workers.client.connection import advice


@pytest.fixture
def queue_of_ones_own(tmp_path: Path) -> Iterator[str]:
    """A Valkey server that nobody supervises."""
    port = free_port()
    command = [valkey.program(), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path), "--save", ""]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        url = f"redis://127.0.0.1:{port}/0"
        while not valkey.answers(url):
            assert server.poll() is None, "valkey ended"
            time.sleep(0.02)
        yield url
        server.terminate()


def test_a_worker_and_a_portal_share_a_queue(
    new_program: Callable[..., Program], queue_of_ones_own: str, demo_photos: Path
) -> None:
    program = new_program(LOOKALIKE_REDIS_URL=queue_of_ones_own)
    worker = program.start("worker")
    web = program.start("web", "--port", "0")
    assert web.stderr
    address = re.search(r"http://\S+", web.stderr.readline())
    assert address
    folder = sorted(demo_photos.iterdir())[0]
    finished = program("index", folder, "--json")  # it waits for the worker to be there
    assert finished.status == 0, finished.errors
    assert finished.report["added"] == len(photos(folder))
    assert "starting" not in finished.errors
    query = urllib.request.Request(f"{address[0]}/api/v1/labels")
    with urllib.request.urlopen(query, timeout=30) as answer:
        assert folder.name in json.dumps(json.load(answer))
    assert program("status", "--json").report["running"] is True
    for process in (worker, web):
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=15)
        assert process.returncode == 0


def test_a_worker_waits_for_a_vector_store_and_begins_when_it_is_there(
    new_program: Callable[..., Program], queue_of_ones_own: str, tmp_path: Path
) -> None:
    port = free_ports()
    program = new_program(LOOKALIKE_REDIS_URL=queue_of_ones_own, LOOKALIKE_QDRANT_URL=f"http://127.0.0.1:{port}")
    worker = program.start("worker")
    settings = settings_of.load({"LOOKALIKE_REDIS_URL": queue_of_ones_own, "LOOKALIKE_HOME": str(program.home)})
    client = Client(settings)
    waits = "a worker waits before it starts: the vector store does not answer"
    wait_for(lambda: any(problem.startswith(waits) for problem in client.status().problems))
    with server_process(tmp_path / "qdrant", port):
        wait_for(lambda: client.status().workers)
        assert not any(problem.startswith(waits) for problem in client.status().problems)
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=20)


def test_without_a_worker_a_search_says_what_to_start(
    new_program: Callable[..., Program], queue_of_ones_own: str, demo_photos: Path
) -> None:
    refused = new_program(LOOKALIKE_REDIS_URL=queue_of_ones_own)("search", photos(demo_photos)[0])
    assert refused.status == 1
    hint = advice(Path("nobody supervises this home"), "worker")
    assert refused.errors.endswith(f"error: no worker is running\nhint: {hint}\n")


def test_a_queue_that_does_not_answer_is_named_without_its_password(new_program: Callable[..., Program]) -> None:
    program = new_program(LOOKALIKE_REDIS_URL="redis://:secret@127.0.0.1:1/0")
    refused = program("search", Path(__file__))
    assert refused.status == 1
    assert "\nerror: the queue at redis://…@127.0.0.1:1/0 does not answer\nhint: " in refused.errors
    unhealthy = program("status", "--json")
    assert unhealthy.report["healthy"] is False
    assert "secret" not in unhealthy.output + unhealthy.errors + refused.errors
