"""How long the gallery's page takes to be selected among many photos: `python -m benchmarks.gallery [POINTS]`.

Synthetic points in the embedded store, without images: what is timed is what a page asks of the store (its photos, how
many there are, labels and folders), the slowest of ten.
"""

import hashlib
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from workers.messages import GalleryImage, Selection
from workers.store import Payload, Place, Point
from workers.store.edge import EdgeStore

DIM, BATCH, LABELS, FOLDERS, PAGE = 64, 1_000, 500, 300, 60
NOW = 1_795_500_000.0


def fill(store: EdgeStore, count: int) -> None:
    """A photo a second; every third without a label."""
    random = np.random.default_rng(0)
    store.ensure("photos", DIM)
    for start in range(0, count, BATCH):
        vectors = random.normal(size=(BATCH, DIM)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        points = []
        for n, vector in enumerate(vectors, start):
            id = hashlib.sha256(str(n).encode()).hexdigest()[:32]
            label = f"label {n % LABELS}" if n % 3 else None
            path = f"/photos/{n % FOLDERS}/IMG_{n:06}.jpg"
            image = GalleryImage(id, "", path, label, 1, 1, "JPEG", 1, NOW + n, taken_at=NOW - n)
            points.append(Point(id, vector, Payload.of(image)))
        store.upsert("photos", points)


def page(store: EdgeStore, selection: Selection, after: Place | None) -> int:
    """What a page asks for; returns how many photos it shows."""
    found = store.newest("photos", selection, after=after, limit=PAGE)
    store.count("photos", selection)
    store.labels("photos")
    store.folders("photos")
    return len(found)


def main(count: int) -> None:
    """Prints a row for each kind of page."""
    middle = Place(int((NOW + count // 2) * 1e6), "")
    pages = {
        "newest": (Selection(), None),
        "in the middle": (Selection(), middle),
        "of a label": (Selection(label="label 1"), None),
        "without a label": (Selection(unlabelled=True), None),
        "of a folder": (Selection(folder="/photos/7"), None),
        "by words": (Selection(text="img_09"), None),
        "added in a day": (Selection(added_from=NOW, added_before=NOW + 86_400), None),
        "taken in a day": (Selection(taken_from=NOW - 86_400, taken_before=NOW), None),
    }
    with tempfile.TemporaryDirectory() as folder:
        store = EdgeStore(Path(folder))
        fill(store, count)
        for name, (selection, after) in pages.items():
            times = []
            for _ in range(10):
                began = time.perf_counter()
                shown = page(store, selection, after)
                times.append(1000 * (time.perf_counter() - began))
            print(f"{name:<16} {shown:3} photos, slowest {max(times):6.1f} ms, median {np.median(times):6.1f} ms")
        store.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
