"""The numbers of docs/faq.md: what images per class, image size, dimension and backbone do to mAP@R and to speed.

    python benchmarks/faq.py [--quick] [--train DIR --test DIR] [--only TABLE ...] [--json FILE] [--write]

Without folders, photos of made-up products are drawn; half of the products are the test. Every model is the preset
`fast`: a head in closed form on the untouched network. Training images are drawn three times. --quick draws once,
trains all but the first table on 8 images per class, and leaves out the mirror image, which gains a point.
"""

import argparse
import json
import multiprocessing
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from deploy import demo_photos
from ml import cores
from ml.data import datasets
from ml.data.datasets import Dataset
from ml.errors import LookalikeError
from ml.evaluation.evaluate import PREFIXES, evaluate
from ml.evaluation.metrics import binary_codes, evaluate_retrieval, prefix
from ml.model import embedder
from ml.model.network import pretrained
from ml.model.save import save_bundle
from ml.training.config import TrainConfig, preset_config
from ml.training.features import Cache
from ml.training.train import train

PER_CLASS = (2, 4, 8, 16)
SIZES = (96, 128, 160, 224)
TABLES = ("Training photos of each class", "Image size in search", "Dimension", "Backbone")
FAQ = Path(__file__).parents[1] / "docs" / "faq.md"
# Those whose weights cannot be had are left out.
BACKBONES = ("efficientnet_lite0", "resnet18", "mobilenetv3_large_100", "resnet50")


@dataclass(frozen=True)
class Row:
    """One measurement: mAP@R and recall@1 in percent, images embedded each second; None where not measured."""

    what: str
    map_at_r: float
    recall_at_1: float
    images_per_s: float | None = None


def per_class(base: TrainConfig, data: Dataset, test: Dataset, work: Path, cache: Cache, draws: int) -> list[Row]:
    """Training images of each class."""
    rows = []
    for count in PER_CLASS:
        if count > data.counts.max():
            break
        found = [measured(base, few(data, count, seed), test, work, cache) for seed in range(draws)]
        rows.append(mean(f"{count} per class", found))
    return rows


def few(data: Dataset, count: int, seed: int = 0) -> Dataset:
    """At most `count` images of each class."""
    dice = np.random.default_rng(seed)
    own = [np.flatnonzero(data.labels == label) for label in range(len(data.classes))]
    return data.subset(sorted(int(place) for places in own for place in dice.permutation(places)[:count]))


def sizes(base: TrainConfig, data: Dataset, test: Dataset, work: Path, cache: Cache) -> list[Row]:
    """Side of the images in search."""
    rows = []
    for size_px in SIZES:
        row = measured(replace(base, test_px=size_px), data, test, work, cache)
        rows.append(replace(row, what=f"{size_px} px"))
    return rows


def dimensions(base: TrainConfig, data: Dataset, test: Dataset, work: Path, cache: Cache) -> list[Row]:
    """The first dimensions of one model's vectors."""
    result = train(base, data, work, cache=cache)
    assert result is not None
    found = evaluate(result.bundle.directory, test)
    vectors, labels = found.embeddings, torch.from_numpy(found.dataset.labels)
    dim = vectors.shape[1]
    variants = {f"{part}": prefix(vectors, part) for part in (*PREFIXES, dim) if part <= dim}
    rows = []
    for what, variant in (variants | {f"{dim} bits": binary_codes(vectors)}).items():
        retrieval = evaluate_retrieval(variant, labels, ks=(1,))
        rows.append(Row(what, round(100 * retrieval.map_at_r, 1), round(100 * retrieval.recall[1], 1)))
    return rows


def backbones(base: TrainConfig, data: Dataset, test: Dataset, work: Path, cache: Cache) -> list[Row]:
    """Other networks at 224 px, those whose weights are here or can be had: speed alone is no reason to choose one."""
    rows = []
    for name in BACKBONES:
        try:
            row = measured(replace(base, backbone=name), data, test, work, cache)
        except LookalikeError as error:
            print(f"left out: {error.message}", file=sys.stderr)
            continue
        rows.append(replace(row, what=name))
    return rows


def memory(count: int = 20_000, dim: int = 512) -> str:
    """What an embedded store takes for each vector, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        resident, on_disk = pool.apply(_fill, (count, dim))
    return (
        f"{count:,} vectors of {dim} numbers: {resident / count / 1000:.1f} kB of memory and"
        f" {on_disk / count / 1000:.1f} kB of disk each ({4 * dim / 1000:.1f} kB are the numbers)\n"
    )


def _fill(count: int, dim: int) -> tuple[int, int]:
    """(bytes of memory, bytes of disk) that so many points take."""
    import psutil

    from workers.store import Payload, Point
    from workers.store.edge import EdgeStore

    dice = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        store = EdgeStore(Path(folder) / "qdrant")
        store.ensure("gallery", dim)
        before = psutil.Process().memory_info().rss
        for start in range(0, count, 1000):
            rows = dice.normal(size=(1000, dim)).astype(np.float32)
            points = [Point(f"{start + i:032x}", row, Payload(f"{i}.jpg", "mug")) for i, row in enumerate(rows)]
            store.upsert("gallery", points)
        store.query("gallery", rows[0], 10)
        after = psutil.Process().memory_info().rss
        blocks = sum(path.stat().st_blocks for path in Path(folder).rglob("*") if path.is_file())
        store.close()
    return after - before, 512 * blocks


def untrained(test: Dataset, work: Path) -> Row:
    """The default model as it comes."""
    model, _ = pretrained()
    save_bundle(model, work / "untrained", name="untrained")
    metrics = evaluate(work / "untrained", test).metrics
    return Row("untrained", round(100 * metrics["map@r"], 1), round(100 * metrics["recall@1"], 1))


def measured(config: TrainConfig, data: Dataset, test: Dataset, work: Path, cache: Cache) -> Row:
    """Trains and measures one model."""
    result = train(config, data, work, test=test, cache=cache)
    assert result is not None
    map_at_r, recall = (round(100 * result.metrics[name], 1) for name in ("map@r", "recall@1"))
    return Row(result.bundle.name, map_at_r, recall, speed(result.bundle.directory))


def speed(directory: Path) -> float:
    """Images a second in batches of 32, decoding not counted; the best of three."""
    loaded = embedder.load(directory)
    pixels = np.random.default_rng(0).integers(0, 256, (32, *[loaded.preprocessing.size_px] * 2, 3), np.uint8)
    loaded.embed_arrays(pixels)
    took = []
    for _ in range(3):
        began = time.perf_counter()
        loaded.embed_arrays(pixels)
        took.append(time.perf_counter() - began)
    return round(32 / min(took), 0)


def mean(what: str, rows: list[Row]) -> Row:
    """Of several draws."""
    maps, recalls = ([getattr(row, name) for row in rows] for name in ("map_at_r", "recall_at_1"))
    return Row(what, round(float(np.mean(maps)), 1), round(float(np.mean(recalls)), 1))


def table(title: str, rows: list[Row]) -> str:
    """Markdown."""
    return f"### {title}\n\n{lines(rows)}"


def lines(rows: list[Row]) -> str:
    """The rows of a table with its head; a column without any figure is left out."""
    columns: dict[str, list[float | None]] = {
        "mAP@R": [row.map_at_r for row in rows],
        "recall@1": [row.recall_at_1 for row in rows],
        "photos/s": [row.images_per_s for row in rows],
    }
    shown = {name: values for name, values in columns.items() if any(value is not None for value in values)}
    found = [f"| | {' | '.join(shown)} |", "|---" * (1 + len(shown)) + "|"]
    for place, row in enumerate(rows):
        cells = ["–" if values[place] is None else f"{values[place]:g}" for values in shown.values()]
        found.append(f"| {row.what} | {' | '.join(cells)} |")
    return "\n".join(found) + "\n"


def write(title: str, rows: list[Row]) -> None:
    """Replaces what stands in docs/faq.md between this table's comments."""
    text = FAQ.read_text("utf-8")
    before, mark, rest = text.partition(f"<!-- measured: {title} -->")
    _, end, after = rest.partition("<!-- end -->")
    assert mark and end, f"{FAQ} has no place for {title!r}"
    FAQ.write_text(f"{before}{mark}\n{lines(rows)}{end}{after}", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one draw instead of three")
    parser.add_argument("--train", type=Path, help="a folder for each class")
    parser.add_argument("--test", type=Path, help="the same, of other classes")
    parser.add_argument("--only", nargs="+", default=TABLES, choices=TABLES, metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("--write", action="store_true", help="put the tables into docs/faq.md")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if given.train:
            data, test = datasets.load(given.train), datasets.load(given.test)
        else:
            demo_photos.make(work / "photos", products=48, views=12, size_px=224)
            data, held = datasets.split_by_class(datasets.load(work / "photos"), 0.5)
            assert held is not None  # there are 48 classes
            test = held
        cache = Cache()
        base = preset_config("fast", holdout=0.0, mirror=not given.quick)
        part = few(data, 8) if given.quick else data
        print(
            f"{platform.machine()}, {cores.available()} cores; train {len(data)} images, test {len(test)}", flush=True
        )
        found = {}
        tables: tuple[Callable[[], list[Row]], ...] = (
            lambda: [untrained(test, work), *per_class(base, data, test, work, cache, 1 if given.quick else 3)],
            lambda: sizes(base, part, test, work, cache),
            lambda: dimensions(base, part, test, work, cache),
            lambda: backbones(base, part, test, work, cache),
        )
        for title, make in zip(TABLES, tables, strict=True):
            if title not in given.only:
                continue
            rows = make()
            found[title] = [asdict(row) for row in rows]
            print(table(title, rows), flush=True)
            if given.write:
                write(title, rows)
        if given.only == TABLES:
            print(memory(), flush=True)
        if given.json:
            given.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
