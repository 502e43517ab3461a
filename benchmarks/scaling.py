"""What more workers bring, and what indexing does to searches.

    python benchmarks/scaling.py                    1, 2 and 4 workers; then searches with and without indexing
    python benchmarks/scaling.py --delay-ms 0       with real inference in the workers: what these cores give

By default the step that a GPU would do is a fixed delay an image, so that two cores can show what the queue, the jobs
and the store allow. Workers share Redis (the embedded Valkey) and Qdrant's HTTP interface before the embedded engine.
"""

import argparse
import io
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from deploy.local import valkey
from ml.model.embedder import Embedder
from workers import settings as settings_of
from workers.client import Client
from workers.settings import Settings

ROOT = Path(__file__).resolve().parents[1]


class Delayed(Embedder):
    """The default model with its network replaced by a pause; vectors come from the mean colours of a few fields."""

    delay_s = 0.0

    def embed_arrays(self, pixels: np.ndarray) -> np.ndarray:
        time.sleep(self.delay_s * len(pixels))
        fields = pixels[:, ::16, ::16].reshape(len(pixels), -1).astype(np.float32) + 1
        vectors = np.resize(fields, (len(pixels), self.dim))
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def worker(delay_ms: float) -> int:
    """What runs in each worker process."""
    from ml.model import embedder
    from workers.__main__ import main as run

    if delay_ms:
        real = embedder.load
        Delayed.delay_s = delay_ms / 1000

        def load(*arguments: object, **options: object) -> Embedder:
            made = real(*arguments, **options)  # type: ignore[arg-type]
            return Delayed(made.bundle, made._network)

        embedder.load = load  # type: ignore[assignment]
    return run()


def images(count: int, seed: int) -> list[bytes]:
    """Small JPEGs, each different."""
    dice = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        out = io.BytesIO()
        Image.fromarray(dice.integers(0, 256, (8, 8, 3), np.uint8)).resize((96, 96)).save(out, "JPEG")
        made.append(out.getvalue())
    return made


@contextmanager
def system(
    workers: int, delay_ms: float, home: Path, *, is_embedded: bool = False
) -> Iterator[tuple[Client, Settings]]:
    """Redis, a vector database and some workers, each a process; embedded: the store is in the one worker."""
    with ExitStack() as hold:
        redis_port, qdrant_port = _free_port(), _free_port()
        settings = settings_of.load(
            {
                "LOOKALIKE_HOME": str(home),
                "LOOKALIKE_REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
                "LOOKALIKE_QDRANT_URL": "" if is_embedded else f"http://127.0.0.1:{qdrant_port}",
                "LOOKALIKE_STORAGE": f"file://{home}/storage-{workers}-{time.time():.0f}",
            }
        )
        server = [str(valkey.program()), "--port", str(redis_port), "--save", "", "--dir", str(home)]
        store = [
            sys.executable,
            "-m",
            "tests.qdrant_over_http",
            str(qdrant_port),
            f"{home}/qdrant-{workers}-{time.time()}",
        ]
        for command in (server,) if is_embedded else (server, store):
            hold.enter_context(_running(command, {}))
        while not _listens(redis_port) or not (is_embedded or _listens(qdrant_port)):
            time.sleep(0.05)
        client = Client(settings)
        for number in range(workers):
            command = [sys.executable, __file__, "--worker", "--delay-ms", str(delay_ms)]
            hold.enter_context(_running(command, settings.environment()))
            while len(client.status().workers) <= number:
                time.sleep(0.1)
        yield client, settings


@contextmanager
def _running(command: list[str], environment: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def throughput(workers: int, delay_ms: float, count: int, home: Path) -> float:
    """Images a second from the first chunk to the last."""
    with system(workers, delay_ms, home) as (client, _):
        warm = [client.add(data, path="warm.jpg", label=None).id for data in images(64 * workers, seed=1)]
        client.wait(client.index(warm))
        ids = [client.add(data, path=f"{n}.jpg", label=None).id for n, data in enumerate(images(count, seed=2))]
        began = time.perf_counter()
        client.wait(client.index(ids))
        return count / (time.perf_counter() - began)


def interference(home: Path, rounds: int = 4) -> dict[str, float]:
    """Searches in one worker with real inference and its own store, by turns idle and while it indexes."""
    with system(1, 0.0, home, is_embedded=True) as (client, _):
        queries = images(64, seed=3)
        client.wait(client.index([client.add(data, path="q.jpg", label=None).id for data in queries]))

        def search(until: threading.Event, took: list[float]) -> None:
            while not until.is_set():
                began = time.perf_counter()
                client.search(queries[len(took) % len(queries)])
                took.append(1000 * (time.perf_counter() - began))
                time.sleep(0.05)

        took: dict[str, list[float]] = {"idle": [], "indexing": []}
        indexing_s = 0.0
        for number in range(rounds):
            ids = [client.add(data, path="i.jpg", label=None).id for data in images(1000, seed=4 + number)]
            for name, times in took.items():
                stop = threading.Event()
                thread = threading.Thread(target=search, args=(stop, times))
                thread.start()
                began = time.perf_counter()
                if name == "indexing":
                    client.wait(client.index(ids))
                    indexing_s += time.perf_counter() - began
                else:
                    time.sleep(10)
                stop.set()
                thread.join()
    figures = {"images/s beside searches": round(1000 * rounds / indexing_s, 1)}
    for name, times in took.items():
        figures |= {f"{name} p50 ms": round(statistics.median(times), 1)}
        figures |= {f"{name} p99 ms": round(statistics.quantiles(times, n=100)[98], 1)}
    return figures | {"p99 ratio": round(figures["indexing p99 ms"] / figures["idle p99 ms"], 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delay-ms", type=float, default=25.0, help="pause an image in place of the network; 0: none")
    parser.add_argument("--images", type=int, default=2400, help="a worker; few, and the last chunks decide")
    parser.add_argument("--only", choices=["throughput", "searches"])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        sys.exit(worker(options.delay_ms))
    with tempfile.TemporaryDirectory() as home:
        counts = options.workers if options.only != "searches" else []
        rates = {n: throughput(n, options.delay_ms, options.images * n, Path(home)) for n in counts}
        searches = interference(Path(home)) if options.only != "throughput" else {}
    first = rates[options.workers[0]] if rates else 1.0
    report = {
        "machine": platform.processor() or platform.machine(),
        "delay ms": options.delay_ms,
        "images/s": {n: round(rate, 1) for n, rate in rates.items()},
        "times one worker": {n: round(rate / first, 2) for n, rate in rates.items()},
        "searches": searches,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
