"""The status, and the pages of a portal, come promptly and say nothing false while the queue is away or stopped."""

import base64
import dataclasses
import json
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis

from deploy.local import valkey
from ml.errors import LookalikeError
from tests.processes import free_port, wait_for
from web import create_app
from workers import settings as settings_of
from workers.client import Client, Unavailable
from workers.client.status import suggestions
from workers.messages import ServiceStatus, WorkerStatus
from workers.queue import replies
from workers.queue.liveness import forget_waiting, record_heartbeat, record_waiting, server_time
from workers.settings import Settings
from workers.store import StoreFailed
from workers.supervision import SupervisionFile

PROMPTLY_S = 2.0
PAGES = ("/", "/gallery", "/models", "/status", "/jobs/index-1", "/health/ready")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a queue that is away: nobody listens on its port."""
    address = f"redis://127.0.0.1:{free_port()}/0"
    return settings_of.load({"LOOKALIKE_HOME": str(tmp_path), "LOOKALIKE_REDIS_URL": address, "LOOKALIKE_CONFIG": ""})


@pytest.fixture
def server(settings: Settings, tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    port = settings.redis_url.rpartition(":")[2].partition("/")[0]
    command = [str(valkey.program()), "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as running:
        wait_for(lambda: running.poll() is not None or valkey.answers(settings.redis_url))
        assert running.poll() is None
        yield running
        running.kill()


@pytest.fixture(params=["away", "stopped"])
def lost(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    """A queue that refuses connections, or takes them and says nothing, as under SIGSTOP or behind a dead link."""
    if request.param == "stopped":
        request.getfixturevalue("server").send_signal(signal.SIGSTOP)
    return settings


def comes_promptly(call: Callable[[], object], within_s: float = PROMPTLY_S) -> bool:
    """On a machine that is busy, at the third try at the latest."""

    def took_s() -> float:
        started = time.monotonic()
        call()
        return time.monotonic() - started

    return any(took_s() < within_s for _ in range(3))


@pytest.mark.parametrize("is_interactive", [True, False])
def test_the_status_comes_promptly_and_claims_nothing(lost: Settings, is_interactive: bool) -> None:
    client = Client(lost, is_interactive=is_interactive)
    assert comes_promptly(client.status)
    now = client.status()
    assert (now.healthy, now.model, now.collection, now.images, now.queues) == (False, None, None, None, {})
    assert any("does not answer" in problem for problem in now.problems)


def test_a_connection_that_was_open_is_no_reason_to_wait(settings: Settings, server: "subprocess.Popen[bytes]") -> None:
    client = Client(settings, is_interactive=True)
    assert client.status().queues
    server.send_signal(signal.SIGSTOP)
    assert comes_promptly(client.status)
    server.send_signal(signal.SIGCONT)
    assert client.status().queues


@pytest.mark.parametrize("page", PAGES)
def test_pages_come_promptly(lost: Settings, page: str) -> None:
    browser = create_app(lost).test_client()
    pages: list[str] = []
    # A stopped queue is waited for twice, a second each.
    assert comes_promptly(lambda: pages.append(browser.get(page).text), PROMPTLY_S + 0.5)
    if page == "/status":
        assert pages[0].count("not known while the queue is away") == 2
        assert "none yet" not in pages[0]
        assert "lookalike worker" not in pages[0]


def test_advice_fits_who_supervises(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    client = Client(settings, is_interactive=True)
    with pytest.raises(Unavailable) as alone:
        client.labels()
    file = SupervisionFile(settings.home, "lookalike up")
    file.write([ServiceStatus("queue", "ended", 2, "exit status 1: no space", retry_at=time.time() + 20)])
    with pytest.raises(Unavailable) as supervised:
        client.labels()
    told = client.status().problems
    file.close()
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    with pytest.raises(Unavailable) as on_cluster:
        client.labels()
    assert "lookalike up" in alone.value.hint or "docker" in alone.value.hint
    assert "`lookalike up` (process" in supervised.value.hint
    assert "kubectl" in on_cluster.value.hint
    assert told[0].startswith("the queue ended (exit status 1: no space); `lookalike up` (process")


def test_a_system_that_was_just_started_again_is_not_called_silent(
    settings: Settings, server: "subprocess.Popen[bytes]"
) -> None:
    queue = redis.Redis.from_url(settings.redis_url, decode_responses=True)
    texts = dict.fromkeys(("id", "host", "device", "precision", "why", "model", "collection"), "x")
    now = server_time(queue)
    status = WorkerStatus(
        **texts, pid=1, queues=("search", "index", "maintenance"), images=3, age_s=0.0, started_at=now - 2, rss_mb=1.0
    )
    record_heartbeat(queue, status)
    for name in status.queues:
        queue.set(f"lookalike:canary:{name}", json.dumps({"finished_at": now - 300, "waited_s": 0.0}))
    assert Client(settings).status().problems == ()
    record_heartbeat(queue, dataclasses.replace(status, started_at=now - 200))
    assert len(Client(settings).status().problems) == 3


def test_a_full_disk_is_not_healthy(
    settings: Settings, server: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=3 * 2**20))
    told = Client(settings).status()
    assert not told.healthy
    assert told.problems[0] == (
        f"3 MB are free in {settings.home}, less than an image may have (32 MB): free space there"
    )


def test_a_queue_that_cannot_write_is_told_as_that(settings: Settings) -> None:
    client = Client(settings)
    with pytest.raises(Unavailable, match="cannot write to its disk"), client.connection.errors_reported():
        raise redis.ResponseError("MISCONF Errors writing to the AOF file: No space left on device")


def test_a_vector_store_that_is_away_is_named_and_not_taken_for_a_missing_worker(
    settings: Settings, server: "subprocess.Popen[bytes]"
) -> None:
    queue = redis.Redis.from_url(settings.redis_url, decode_responses=True)
    client = Client(settings)
    record_waiting(queue, "starting", "the vector store does not answer")
    (problem,) = client.status().problems
    assert problem == "a worker waits before it starts: the vector store does not answer"
    forget_waiting(queue, "starting")
    texts = dict.fromkeys(("id", "host", "device", "precision", "why", "model", "collection"), "x")
    numbers = {"pid": 1, "images": 0, "age_s": 0.0, "rss_mb": 1.0, "started_at": server_time(queue)}
    problem = "the vector store does not answer"
    record_heartbeat(
        queue, WorkerStatus(**texts, **numbers, queues=("search", "index", "maintenance"), problem=problem)
    )
    assert "the vector store does not answer" in client.status().problems


def test_an_error_of_a_worker_that_passes_is_503_and_says_when_to_try_again(
    settings: Settings, server: "subprocess.Popen[bytes]"
) -> None:
    """Its class is the worker's own: the portal does not know it."""
    queue = redis.Redis.from_url(settings.redis_url, decode_responses=True)
    portal = create_app(settings).test_client()

    def answer_one() -> None:
        _, message = queue.blpop(["search"], timeout=20)
        body = json.loads(base64.b64decode(json.loads(message)["body"]))
        replies.send(queue, body[0][1], error=StoreFailed("the vector store does not answer", passes=True))

    worker_side = threading.Thread(target=answer_one)
    worker_side.start()
    answer = portal.get("/api/v1/labels")
    worker_side.join()
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert answer.get_json()["detail"] == "the vector store does not answer"


@pytest.mark.parametrize(
    ("tuning", "images", "said"),
    [
        (None, 29, None),
        (None, 30, "lookalike tune"),
        ({"photos": 100}, 149, None),
        ({"photos": 100}, 150, "was tuned to 100 photos, now there are 150"),
        ({"photos": "many"}, 150, "lookalike tune"),  # written by nobody that we know
    ],
)
def test_tuning_is_suggested_once_there_are_photos_and_again_when_half_as_many_came(
    tuning: object, images: int, said: str | None
) -> None:
    registry = SimpleNamespace(record=lambda model: SimpleNamespace(lineage={"tuning": tuning}))
    lines = suggestions(registry, "untrained", images)  # type: ignore[arg-type]
    assert [said in line for line in lines if said] == [True] if said else lines == ()


def test_a_model_that_cannot_be_read_is_not_suggested_to_be_tuned() -> None:
    def record(model: str) -> None:
        raise LookalikeError("its model.json is damaged")

    assert suggestions(SimpleNamespace(record=record), "untrained", 100) == ()  # type: ignore[arg-type]
