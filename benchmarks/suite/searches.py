"""Searches over HTTP: one user and many, beside decoding, forward pass and store, which no search can do without."""

import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.load import Load, run
from benchmarks.store import clustered
from benchmarks.suite.photos import folder_of, photos
from benchmarks.suite.record import Curve, Effort, Found, race
from deploy.cli.find_files import Walk
from deploy.cli.upload_folder import index
from deploy.local.stack import Stack
from ml import images
from ml.model import embedder
from ml.model.default import write_default
from ml.model.embedder import Embedder
from workers import settings
from workers.client import Client
from workers.store import Payload, Point
from workers.store.edge import EdgeStore

LIMIT = "limit: decode, forward and store, nothing else"
_PROCESSES = ("portal", "worker", "queue")


def measure(effort: Effort) -> Found:
    """One user in turn with the limit, then more and more users."""
    with tempfile.TemporaryDirectory() as scratch:
        gallery = effort.of(1000, 12)
        with system(Path(scratch), photos(gallery)) as portal, Bare(Path(scratch), gallery) as bare:
            asked = photos(effort.of(64, 4))
            one = race(
                {"one user over HTTP": lambda: portal.p50_ms(asked), LIMIT: lambda: bare.p50_ms(asked)},
                effort,
                what=f"a search with a photo of 348 px among {gallery:,}, p50",
                unit="ms",
                limit=LIMIT,
            )
            loads = {users: portal.load(users, effort.of(6, 1), asked) for users in (1, 2, 4, 8, 16)}
            many: list[dict[str, Any]] = []
            least_ms: list[float] = []  # of the processor

            def crowd() -> float:
                many.append(portal.load(32, effort.of(8, 1), asked))
                return float(many[-1]["searches_per_s"])

            def least() -> float:
                spent = time.process_time()
                rate = bare.per_s(asked)
                least_ms.append(1000 * (time.process_time() - spent) / len(asked[:32]))
                return rate

            both = race(
                {"32 users over HTTP": crowd, LIMIT: least},
                effort,
                what="searches with photos of 348 px",
                unit="per s",
                limit=LIMIT,
                is_rate=True,
            )
    many = many[1:]  # the first was for nothing
    loads[32] = {name: statistics.median(each[name] for each in many) for name in ("p50_ms", "p99_ms")}
    loads[32]["processor_ms_per_search"] = {
        name: statistics.median(each["processor_ms_per_search"][name] for each in many) for name in _PROCESSES
    }
    curve = Curve(
        "a search over HTTP",
        "users",
        "ms",
        {name: [(users, each[name.split()[0] + "_ms"]) for users, each in loads.items()] for name in ("p50", "p99")}
        | {"processor time": [(users, sum(each["processor_ms_per_search"].values())) for users, each in loads.items()]},
    )
    processor_ms = sum(loads[32]["processor_ms_per_search"].values())
    figures = {
        "p50 over its limit": one.ratio(LIMIT) ** -1,
        "32 users, searches/s": both.median("32 users over HTTP"),
        "32 users, p99 over p50": statistics.median(each["p99_ms"] / each["p50_ms"] for each in many),
        "32 users, of the limit": both.ratio(LIMIT),
        "32 users, processor ms": processor_ms,
        "32 users, processor time over its limit": processor_ms / statistics.median(least_ms[1:] or least_ms),
        **{f"32 users, processor ms of the {n}": loads[32]["processor_ms_per_search"][n] for n in _PROCESSES},
        "32 users, processor ms of those who ask": statistics.median(each["users_ms_per_search"] for each in many),
    }
    missing = {"users on other machines": "those that ask run on the same two cores, and take some 0.1 ms a search"}
    return Found({"one user": one, "32 users": both}, {"users": curve}, figures, missing)


@dataclass
class Portal:
    """A running system."""

    address: str
    pids: dict[str, int]

    def p50_ms(self, asked: list[bytes]) -> float:
        """Of one user's searches, one after the other."""
        load = Load(self.address, [], asked)
        with load.session() as session:
            return 1000 * statistics.median(load.search(session, number) for number in range(len(asked)))

    def load(self, users: int, seconds: float, asked: list[bytes]) -> dict[str, Any]:
        """Figures of so many users."""
        return run(Load(self.address, [], asked), users, 0, 0, seconds, self.pids)


@contextmanager
def system(scratch: Path, gallery: list[bytes]) -> Iterator[Portal]:
    """A system of our own with these photos."""
    folder = folder_of(gallery, scratch / "photos")
    with Stack(settings.load({"LOOKALIKE_HOME": str(scratch / "home")}), portal=("127.0.0.1", 0)) as stack:
        index(Client(stack.settings), Walk([folder]), progress=lambda _done, _total: None)
        assert stack.address
        pids = {name: pid for name in _PROCESSES if (pid := stack.runner(name).pid)}
        yield Portal(stack.address, pids)


class Bare:
    """Decode, forward and store in this process, without anything around them."""

    def __init__(self, scratch: Path, count: int) -> None:
        bundle = write_default(scratch / "bundle")
        self._embedder: Embedder = embedder.load(bundle.directory, device="cpu", cache_dir=scratch / "compiled")
        self._store = EdgeStore(scratch / "bare")
        self._store.ensure("bare", self._embedder.dim)
        rows = clustered(count, self._embedder.dim)
        points = [Point(uuid.uuid4().hex, row, Payload(f"{n}.jpg", None)) for n, row in enumerate(rows)]
        for start in range(0, count, 500):
            self._store.upsert("bare", points[start : start + 500])

    def __enter__(self) -> "Bare":
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()

    def p50_ms(self, asked: list[bytes]) -> float:
        """One at a time."""
        took = []
        for data in asked:
            began = time.perf_counter()
            (vector,) = self._embedder.embed_arrays(self._prepared(data)[None])
            self._store.query("bare", vector, 6)
            took.append(time.perf_counter() - began)
        return 1000 * statistics.median(took)

    def per_s(self, asked: list[bytes]) -> float:
        """Those of 32 users at once, in one forward pass."""
        began = time.perf_counter()
        for vector in self._embedder.embed_arrays(np.stack([self._prepared(data) for data in asked[:32]])):
            self._store.query("bare", vector, 6)
        return len(asked[:32]) / (time.perf_counter() - began)

    def _prepared(self, data: bytes) -> np.ndarray:
        wanted = self._embedder.preprocessing
        return wanted.apply(images.decode(data, min_side=wanted.min_side))
