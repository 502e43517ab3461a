"""Many processes, as containers would run them; each part is killed in the middle of an index and of a search load.

redis-server with an append-only file, Qdrant's interfaces with the embedded engine behind them, two workers on
different queues, two portals, one shared storage. Whatever dies is started again, as an orchestrator would.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy import demo_photos as making
from deploy.cli.find_files import Walk
from deploy.cli.upload_folder import index
from deploy.local import valkey
from tests.conftest import SHARED
from tests.e2e.conftest import RunningStack
from tests.processes import free_port, wait_for
from tests.workers.store.servers import free_ports
from workers import settings as settings_of
from workers.client import Client
from workers.settings import Settings

ROOT = Path(__file__).parents[2]
RECOVERY_S = 30.0


class Part:
    """A process that is started again whenever it ends, until it is stopped."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.name, self._command, self._environment, self._log = name, command, environment, log
        self._stopped = threading.Event()
        self._starting = threading.Lock()
        self._process = self._start()
        self._keeper = threading.Thread(target=self._keep)
        self._keeper.start()

    def kill(self) -> None:
        """As the kernel does when memory runs out."""
        killed = self._process
        killed.kill()
        assert killed.wait(10) == -signal.SIGKILL, f"{self.name} had ended by itself"

    def stop(self) -> None:
        with self._starting:
            self._stopped.set()
            self._process.terminate()
        self._keeper.join()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(self._command, env=self._environment, cwd=ROOT, stdout=log, stderr=log)

    def _keep(self) -> None:
        while True:
            self._process.wait()
            if self._stopped.wait(0.5):  # an orchestrator's pause before it starts something again
                return
            with self._starting:
                if not self._stopped.is_set():
                    self._process = self._start()


class Load:
    """Searches through both portals, a few times a second each; remembers when each was sent and answered."""

    def __init__(self, portals: list[str], photo: bytes) -> None:
        self._answered: list[tuple[float, float]] = []  # sent at, answered at
        self._news = threading.Condition()
        self.statuses: set[int] = set()
        self._portals, self._photo = portals, photo
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(portal,)) for portal in portals]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def recovered_s(self, since: float) -> float:
        """Seconds from a moment to the first answer of a search that was sent after it; infinite without one."""

        def later() -> list[float]:
            return [answered_at for sent_at, answered_at in self._answered if sent_at > since]

        with self._news:
            self._news.wait_for(later, timeout=RECOVERY_S + 5)
            return min(later(), default=float("inf")) - since

    def _run(self, portal: str) -> None:
        while not self._stop.wait(0.3):
            sent_at = time.monotonic()
            try:
                answer = _post_photo(f"{portal}/api/v1/search", self._photo)
                assert answer["results"] is not None
            except urllib.error.HTTPError as error:
                self.statuses.add(error.code)
            except OSError:
                continue  # its portal is away
            else:
                with self._news:
                    self._answered.append((sent_at, time.monotonic()))
                    self._news.notify_all()


def _post_photo(url: str, photo: bytes) -> dict[str, list[object]]:
    boundary = "lookalike-boundary"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="q.jpg"\r\n\r\n'
    body = head.encode() + photo + f"\r\n--{boundary}--\r\n".encode()
    request = urllib.request.Request(url, body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})
    with urllib.request.urlopen(request, timeout=40) as response:
        answer: dict[str, list[object]] = json.load(response)
        return answer


def _redis_server() -> str:
    found = shutil.which("redis-server")
    if found is None and os.environ.get("CI") == "true":
        pytest.fail("redis-server is not installed; .ci/run installs it")
    return found or str(valkey.program())  # the wheel's server speaks the same protocol


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """1,830 real photos where they are, else the demo photos."""
    if (SHARED / "grocery").is_dir():
        return SHARED / "grocery"
    making.make(tmp_path / "photos")
    return tmp_path / "photos"


@pytest.fixture(params=["http", "grpc"])
def topology(
    request: pytest.FixtureRequest, tmp_path: Path, stack: RunningStack
) -> Iterator[tuple[dict[str, Part], Settings, list[str]]]:
    redis_port, *web_ports = [free_port() for _ in range(3)]
    qdrant_port = free_ports()
    store_command = [sys.executable, "-m", "tests.qdrant_over_grpc", "127.0.0.1", str(qdrant_port)]
    if request.param == "http":
        store_command = [sys.executable, "-m", "tests.qdrant_over_http", str(qdrant_port)]
    (tmp_path / "redis").mkdir()
    shutil.copytree(stack.settings.home / "cache", tmp_path / "home" / "cache")  # compiling it takes a while
    settings = settings_of.load(
        {
            "LOOKALIKE_HOME": str(tmp_path / "home"),
            "LOOKALIKE_REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
            "LOOKALIKE_QDRANT_URL": f"http://127.0.0.1:{qdrant_port}",
            "LOOKALIKE_STORAGE": f"file://{tmp_path}/storage",
        }
    )
    environment = {**os.environ, **settings.environment()}
    python = sys.executable
    redis_command = [_redis_server(), "--port", str(redis_port), "--appendonly", "yes", "--save", ""]
    commands: dict[str, tuple[list[str], dict[str, str]]] = {
        "redis": ([*redis_command, "--dir", str(tmp_path / "redis")], {}),
        "store": ([*store_command, str(tmp_path / "qdrant")], {}),
        "searcher": ([python, "-m", "workers"], {"LOOKALIKE_QUEUES": "search,maintenance"}),
        "indexer": ([python, "-m", "workers"], {"LOOKALIKE_QUEUES": "index,maintenance"}),
    }
    for number, port in enumerate(web_ports):
        bind = f"127.0.0.1:{port}"
        commands[f"web-{number}"] = ([python, "-m", "web", "--bind", bind], {})
    parts: dict[str, Part] = {}
    try:
        for name, (command, extra) in commands.items():
            parts[name] = Part(name, command, {**environment, **extra}, tmp_path / f"{name}.log")
            if name == "store":
                wait_for(lambda: _answers(f"http://127.0.0.1:{qdrant_port}/collections"))
        client = Client(settings)
        wait_for(lambda: len(client.status().workers) == 2, timeout_s=120)
        portals = [f"http://127.0.0.1:{port}" for port in web_ports]
        for portal in portals:
            wait_for(lambda portal=portal: _answers(f"{portal}/health/live"))
        yield parts, settings, portals
    finally:
        for part in reversed(parts.values()):
            part.stop()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False


@pytest.mark.timeout(600)
def test_any_part_may_be_killed_in_the_middle(
    topology: tuple[dict[str, Part], Settings, list[str]], photos: Path
) -> None:
    parts, settings, portals = topology
    client = Client(settings)
    total = sum(1 for _ in photos.rglob("*.jpg"))
    indexed = [0]
    indexing = threading.Thread(
        target=lambda: index(client, Walk([photos]), progress=lambda done, _total: indexed.append(done))
    )
    recoveries: dict[str, float] = {}
    with Load(portals, next(photos.rglob("*.jpg")).read_bytes()) as load:
        indexing.start()
        for name in ("indexer", "redis", "web-0", "store", "searcher"):
            before = indexed[-1]  # so that each is killed in the midst of indexing that goes on
            wait_for(lambda before=before: indexed[-1] > before or not indexing.is_alive(), timeout_s=120)
            assert indexing.is_alive(), f"the index had ended before {name} was killed"
            assert "index" in [job.kind for job in client.running()]
            killed_at = time.monotonic()
            parts[name].kill()
            recoveries[name] = load.recovered_s(since=killed_at)
        indexing.join(timeout=240)
        assert not indexing.is_alive(), "the job hangs"
    assert all(seconds < RECOVERY_S for seconds in recoveries.values()), recoveries
    assert 500 not in load.statuses
    report = client.wait(client.verify())
    counts = {name: report.detail[name] for name in ("missing", "extra", "different")}
    assert counts == {"missing": 0, "extra": 0, "different": 0}
    assert report.total == total
    assert client.status().images == total
