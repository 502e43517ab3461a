"""A gallery of 100,000 photos: what its pages take, what ordering by neighbours adds to a search, and tuning.

    python benchmarks/large_gallery.py [--rounds 30] [--tune] [--home FOLDER] [--no-graph] [--only pages|searches]

No 100,000 photos are needed: vectors are those of 1,024 real photos (../shared/data/grocery, or else drawn ones), and
of others around each of them; metadata are made up, with 500 labels, a third of the photos without one, and 300
folders. Originals are there for the 1,024 alone, which are those that a tuning reads. It takes 2.2 GB of disk and, on
two quiet cores, about 5 minutes before anything is measured, most of them for the graph. FOLDER keeps the gallery:
given again, it is used as it is. `--no-graph` leaves out the graph: searches are exact then, and take longer.

Then the whole system runs on it. Pages are fetched from the portal, each kind `--rounds` times in turn. Searches by id
are measured in the store: as they are, and with the vectors of those found, which ordering by neighbours looks at.
`--tune` tunes to the gallery while five searches a second go on.
"""

import argparse
import hashlib
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
import requests

from benchmarks.processes import processor_s, rss_mb
from deploy.local.stack import Stack
from ml import images
from ml.model import embedder
from ml.model.default import provide
from ml.storage import open_storage
from workers import settings as settings_of
from workers.client import Client
from workers.gallery.metadata import Known, Metadata
from workers.gallery.originals import Originals
from workers.messages import GalleryImage
from workers.settings import Settings
from workers.store import Hit, Payload, Point, optimize
from workers.store.codes import LARGE_BYTES, chosen
from workers.store.edge import EdgeStore
from workers.tasks.housekeeping import INTERVAL_S
from workers.tasks.order import ordered
from workers.tasks.ranking import hits_wanted

GROCERY = Path(__file__).resolve().parents[2] / "shared" / "data" / "grocery"
PREFIXES, OF_A_PREFIX = 256, 4  # photos that a tuning reads: the first of each two digits
LABELS, FOLDERS, BATCH = 500, 300, 500
SPREAD = 0.5  # of made-up vectors around a real one, as a share of its length
NOW = 1_795_500_000.0


def photos_to_read() -> Iterator[tuple[str, bytes]]:
    """Ids and bytes of 1,024 photos, four for each first two digits, whose third digit is 0: before all the others."""
    with tempfile.TemporaryDirectory() as drawn:
        if not GROCERY.is_dir():
            from deploy import demo_photos

            demo_photos.make(Path(drawn))
        found = sorted((GROCERY if GROCERY.is_dir() else Path(drawn)).rglob("*.jpg"))
        missing = dict.fromkeys((f"{prefix:02x}" for prefix in range(PREFIXES)), OF_A_PREFIX)
        number = 0
        while any(missing.values()):
            # What stands behind the end of a JPEG is no part of the photo, but of its content.
            data = found[number % len(found)].read_bytes() + f"{number}".encode()
            id = hashlib.sha256(data).hexdigest()[:32]
            if id[2] == "0" and missing[id[:2]]:
                missing[id[:2]] -= 1
                yield id, data
            number += 1


def fill(settings: Settings, collection: str, count: int) -> None:
    """Puts points, metadata and the originals that are read into a home on which nothing runs."""
    storage = open_storage(settings.storage_url)
    metadata, originals, dice = Metadata(storage), Originals(storage), np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as work:
        network = embedder.load(provide(Path(work), settings.compiled), cache_dir=settings.compiled)
    read = dict(photos_to_read())
    for id, data in read.items():
        originals.put(id, data, None)
    photos = [images.decode(data) for data in read.values()]
    real = np.concatenate([network.embed(photos[start : start + 64]) for start in range(0, len(photos), 64)])
    ids, store = list(read), EdgeStore(settings.home / "qdrant")
    store._closed.set()  # the graph is built below, at once
    for start in range(0, count, BATCH):
        numbers = np.arange(start, min(start + BATCH, count))
        kinds = numbers % len(real)
        noise = dice.normal(0, SPREAD / np.sqrt(real.shape[1]), (len(numbers), real.shape[1]))
        vectors = np.where((numbers < len(real))[:, None], real[kinds], real[kinds] + noise).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        points = []
        for number, kind, vector in zip(numbers.tolist(), kinds.tolist(), vectors, strict=True):
            id = ids[number] if number < len(ids) else made_up_id(number)
            label = f"kind {kind % LABELS}" if number % 3 else None
            path = f"/photos/{number % FOLDERS}/IMG_{number:06}.jpg"
            image = GalleryImage(
                id, Path(path).name, path, label, 64, 64, "JPEG", 1, NOW + number, taken_at=NOW - number
            )
            metadata.write(Known(image, False))
            points.append(Point(id, vector, Payload.of(image)))
        store.upsert(collection, points)
    store.close()


def build_graph(settings: Settings) -> None:
    """As a worker does when it finds that it lacks one, but at ordinary priority."""
    store = EdgeStore(settings.home / "qdrant", codes=settings.qdrant_quantization)
    store._closed.set()
    for collection in store.collections():
        shard = store._shard(collection)
        if shard.unindexed * shard.dim * 4 > LARGE_BYTES:
            codes = chosen(settings.qdrant_quantization, shard.count, shard.dim)
            with patch("os.nice", lambda _: None):
                optimize.main(str(shard.copy_for_optimising()), str(shard.dim), codes)
            shard.exchange()
    store.close()


def made_up_id(number: int) -> str:
    """One whose third digit is not 0."""
    digest = hashlib.sha256(str(number).encode()).hexdigest()[:32]
    return digest if digest[2] != "0" else f"{digest[:2]}f{digest[3:]}"


def gallery(home: Path, count: int, *, has_graph: bool) -> Settings:
    """A home with so many photos in it."""
    settings = settings_of.load({"LOOKALIKE_HOME": str(home)})
    if not (home / "filled").exists():
        with Stack(settings) as stack:
            active = Client(stack.settings).active()
        assert active is not None
        began = time.perf_counter()
        with patch("os.fsync", lambda _: None):  # nothing here must outlive a power failure
            fill(settings, active.collection, count)
        print(f"filled in {time.perf_counter() - began:.0f} s", flush=True)
        (home / "filled").touch()
    if not has_graph:
        return settings
    began = time.perf_counter()
    build_graph(settings)
    print(f"graph in {time.perf_counter() - began:.0f} s", flush=True)
    return settings


def spread(milliseconds: Sequence[float]) -> dict[str, float]:
    return {
        "median ms": round(statistics.median(milliseconds), 2),
        "p95 ms": round(float(np.quantile(milliseconds, 0.95)), 2),
    }


def timed(
    calls: dict[str, Callable[[int], object]], rounds: int, spent: Callable[[], float] = time.process_time
) -> dict[str, dict[str, float]]:
    """Each in turn, so that what else the machine does meets all of them; and their processor time, which it does not
    change. `spent` tells that in seconds."""
    took: dict[str, list[float]] = {name: [] for name in calls}
    processor = dict.fromkeys(calls, 0.0)
    for number in range(rounds):
        for name, call in calls.items():
            before, began = spent(), time.perf_counter()
            call(number)
            took[name].append(1000 * (time.perf_counter() - began))
            processor[name] += spent() - before
    return {
        name: spread(each) | {"processor ms": round(1000 * processor[name] / rounds, 2)} for name, each in took.items()
    }


def searches(settings: Settings, rounds: int) -> dict[str, dict[str, float]]:
    """What a search takes in the store, and what ordering by neighbours adds to it."""
    store = EdgeStore(settings.home / "qdrant", codes=settings.qdrant_quantization)
    store._closed.set()
    (collection, *_) = store.collections()
    ids = [point.id for point in store.points(collection, limit=20_000)]
    apart = ids[:: max(1, len(ids) // rounds)]
    vectors = [
        each.vector for each in store.fetch(collection, apart, with_vectors=True).values() if each.vector is not None
    ]
    wanted = hits_wanted(12, rerank=False)
    query = lambda n: vectors[n % len(vectors)]  # noqa: E731
    hits = store.query(collection, vectors[0], wanted, with_vectors=True)
    some = lambda n: [ids[(n * wanted + m) % len(ids)] for m in range(wanted)]  # noqa: E731
    parts = timed(
        {
            f"payloads of {wanted}": lambda n: store.fetch(collection, some(n)),
            f"payloads and vectors of {wanted}": lambda n: store.fetch(collection, some(n), with_vectors=True),
            f"ordering {wanted}": lambda n: _in_order(vectors[0], hits),
        },
        10 * rounds,
    )
    found = parts | timed(
        {
            "nearest 12": lambda n: store.query(collection, query(n), 12),
            f"nearest {wanted}": lambda n: store.query(collection, query(n), wanted),
            f"nearest {wanted} with vectors": lambda n: store.query(collection, query(n), wanted, with_vectors=True),
            "the same in order": lambda n: _in_order(
                query(n), store.query(collection, query(n), wanted, with_vectors=True)
            ),
        },
        rounds,
    )
    store.close()
    return found


def _in_order(vector: np.ndarray, hits: Sequence[Hit]) -> list[Hit]:
    return ordered(vector, hits, np.stack([hit.vector for hit in hits if hit.vector is not None]), rerank=False)


def pages(stack: Stack, client: Client, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds until a page has come from the portal; the processor time is that of portal, worker and queue."""
    address = stack.address or ""
    shown, following = client.images(limit=60)
    middle = f"{int((NOW + 50_000) * 1e6)}-{'0' * 32}"
    paths = {
        "search": "/",
        "search, with results": f"/?id={shown[5].id}",
        "gallery": "/gallery",
        "gallery, second page": f"/gallery?after={following}",
        "gallery, in the middle": f"/gallery?after={middle}",
        "gallery, one label": "/gallery?label=kind+7",
        "gallery, by words": "/gallery?q=img_09",
        "a label": "/label?name=kind+7",
        "without a label": "/unlabelled",
        "a photo": f"/images/{shown[5].id}",
    }
    with requests.Session() as session:

        def fetch(path: str) -> None:
            answer = session.get(address + path, timeout=60)
            answer.raise_for_status()

        for path in paths.values():
            while session.get(address + path, timeout=60).status_code == 503:
                pass  # the first view of the queue, exact on a busy machine, takes longer than a page waits
        return timed(
            {name: lambda _, path=path: fetch(path) for name, path in paths.items()},  # type: ignore[misc]
            rounds,
            lambda: sum(map(processor_s, pids(stack))),
        )


def settle(client: Client) -> None:
    """Waits until what a worker does when it starts, comparing storage with the collection, has been done."""
    time.sleep(3 * INTERVAL_S)
    while client.jobs.running():
        time.sleep(1)


def pids(stack: Stack) -> list[int]:
    return [pid for name in ("queue", "worker", "portal") if (pid := stack.runner(name).pid) is not None]


def tuning(stack: Stack, client: Client) -> dict[str, object]:
    """Tunes beside five searches a second, whose processor time counts, too."""
    ids, stop, took = [image.id for image in client.images(limit=60)[0]], threading.Event(), []

    def search() -> None:
        while not stop.wait(0.2):
            began = time.perf_counter()
            client.search(id=ids[len(took) % len(ids)], k=12)
            took.append(1000 * (time.perf_counter() - began))

    thread = threading.Thread(target=search)
    thread.start()
    before = sum(map(processor_s, pids(stack)))
    status = client.wait(client.tune(force=True))
    spent = sum(map(processor_s, pids(stack))) - before
    stop.set()
    thread.join()
    facts = {"state": status.state, "seconds": status.seconds, "processor s": round(spent), "detail": status.detail}
    return facts | {"searches beside": spread(took), "worker MB": rss_mb(pids(stack)[1])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--home", type=Path)
    parser.add_argument("--no-graph", action="store_true")
    parser.add_argument("--only", choices=("pages", "searches"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as own:
        settings = gallery(options.home or Path(own), options.photos, has_graph=not options.no_graph)
        report: dict[str, object] = {"photos": options.photos, "load": round(os.getloadavg()[0], 1)}
        if options.only != "searches":
            with Stack(settings, portal=("127.0.0.1", 0)) as stack:
                client = Client(stack.settings)
                settle(client)
                report["pages"] = pages(stack, client, options.rounds)
                print(json.dumps(report, indent=2), flush=True)
                if options.tune:
                    report["tuning"] = tuning(stack, client)
        if options.only != "pages":
            report["searches"] = searches(settings, 10 * options.rounds)
        print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
