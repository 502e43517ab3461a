"""How fast `lookalike index` takes photos, what memory the worker needs, and whether searches find the right ones.

    python benchmarks/indexing.py                 the photos of ../shared/data/grocery, or drawn ones
    python benchmarks/indexing.py --photos DIR    a folder per class; queries are those of DIR/test where there is one
    python benchmarks/indexing.py --quick         a few drawn photos: whether it runs, not how fast

Starts Valkey and a worker as `lookalike index` does, on a home that is thrown away. The clock runs from the first file
read to the last vector in the store, on a worker that has indexed a few other photos before. Beside it stand the
seconds of processor time that the worker spent, which hardly grow when other programs take the cores away. Queries are
photos of the gallery itself: each must find itself, and of the other photos of the queried classes the nearest should
show the same class. How long a search takes is `benchmarks/portal_search.py`'s subject.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import peak_mb, processor_s
from deploy import demo_photos
from deploy.cli.find_files import Walk
from deploy.cli.upload_folder import index
from deploy.local.stack import Stack
from workers import settings as settings_of
from workers.client import Client
from workers.gallery import image_id

GROCERY = Path(__file__).resolve().parents[2] / "shared" / "data" / "grocery"
IMAGES = (".jpg", ".jpeg", ".png")
SEEN = 25  # results looked at: the nearest photo of the queried classes is among them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--queries", type=int, default=600, help="how many photos are searched for")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        drawn = Path(scratch) / "drawn"
        photos = options.photos or (GROCERY if GROCERY.is_dir() and not options.quick else drawn)
        if photos == drawn:
            demo_photos.make(drawn, **({"products": 4, "views": 3} if options.quick else {}))
        demo_photos.make(Path(scratch) / "before", products=3 if options.quick else 12, views=4, seed=1)
        home = str(Path(scratch) / "home")
        with Stack(settings_of.load({"LOOKALIKE_HOME": home})) as stack:
            client = Client(stack.settings)
            taken(client, Path(scratch) / "before")
            report = measure(client, photos, options.queries)
    print(json.dumps(report, indent=2))


def measure(client: Client, photos: Path, most_queries: int) -> dict[str, Any]:
    (worker,) = client.status().workers
    spent_before = processor_s(worker.pid)
    first = taken(client, photos)
    spent = processor_s(worker.pid) - spent_before
    again = taken(client, photos)
    asked = photos / "test" if (photos / "test").is_dir() else photos
    found = sorted(path for path in asked.rglob("*") if path.suffix.lower() in IMAGES)
    queries = found[:: max(1, len(found) // most_queries)][:most_queries]
    return {
        "embedder": worker.why,
        "index": first | {"worker's processor seconds": round(spent, 1), "load": round(os.getloadavg()[0], 1)},
        "index again": again,
        "worker's peak memory, MB": peak_mb(worker.pid),
        "search": accuracy([answer(client, path) for path in queries], {path.parent.name for path in found}),
    }


def taken(client: Client, photos: Path) -> dict[str, float]:
    """Indexes a folder."""
    began = time.perf_counter()
    status = index(client, Walk([photos]), progress=lambda _done, _total: None)
    seconds = time.perf_counter() - began
    rate = (status.added + status.unchanged) / seconds
    return {
        "added": status.added,
        "unchanged": status.unchanged,
        "failed": status.failed,
        "seconds": round(seconds, 1),
        "images/s": round(rate, 1),
    }


@dataclass(frozen=True)
class Answer:
    """What a query found: its own similarity if it stands first, and other photos' labels, nearest first."""

    label: str
    itself: float | None
    others: tuple[str | None, ...]
    milliseconds: float


def answer(client: Client, path: Path) -> Answer:
    data = path.read_bytes()
    own = image_id(data)
    began = time.perf_counter()
    results = client.search(data, k=SEEN).results
    milliseconds = 1000 * (time.perf_counter() - began)
    itself = results[0].similarity if results[0].id == own else None
    others = tuple(result.label for result in results if result.id != own)
    return Answer(path.parent.name, itself, others, milliseconds)


def accuracy(answers: Sequence[Answer], labels: set[str]) -> dict[str, float]:
    nearest = [next((label for label in each.others if label in labels), None) for each in answers]
    own = [each.itself for each in answers if each.itself is not None]
    return {
        "queries": len(answers),
        "found themselves first": len(own),
        "lowest similarity to themselves": round(min(own, default=0.0), 5),
        "nearest other of the same class": round(
            statistics.mean(label == each.label for label, each in zip(nearest, answers, strict=True)), 4
        ),
        "median ms through the queue": round(statistics.median(each.milliseconds for each in answers), 1),
    }


if __name__ == "__main__":
    main()
