"""What looking at the neighbours of neighbours brings to a live search, by new queries, and what it costs.

    python benchmarks/neighbours.py [--data ../shared/data/grocery] [--folds 3] [--test] [--tuned]
    python benchmarks/neighbours.py --live

The folder holds train/ and test/, each with one folder per class. Of train/, classes are drawn for each fold: some
photos of each make the gallery, up to eight others ask. Untrained; tuned to the gallery without labels; and with the
head of `fast`, taught on half of the classes and asked about the others. Choose on train/; test/ is measured once:
the even photos of each class are the gallery, the odd ones ask. Of every way of ordering: the change of mAP@R against
plain similarity in percent, in the worst fold, and of recall@1. All but plain similarity keep the first hit where it
is, except where it says "free".
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.answers import PLAIN, fast
from benchmarks.tune import GROCERY, Embedded, embedded, halves, read
from deploy.cli.find_files import Walk
from deploy.cli.upload_folder import index
from deploy.local.stack import Stack
from ml.evaluation.evaluate import embed
from ml.evaluation.neighbours import averaged_similarity
from ml.evaluation.rerank import k_reciprocal
from ml.model import embedder
from ml.model.default import provide
from ml.tuning.gallery_head import Conversion, GalleryTooSmall
from workers import settings as settings_of
from workers.client import Client

SHAPES = ((41, 2), (41, 3), (20, 6), (20, 12), (41, 15))
MOST_QUERIES = 8
Order = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # query, gallery, plain order -> order


def nearest_first(order: np.ndarray, plain: np.ndarray) -> np.ndarray:
    return np.r_[plain[0], order[order != plain[0]]]


def averaged(width: int, neighbours: int) -> Order:
    def order(query: np.ndarray, gallery: np.ndarray, plain: np.ndarray) -> np.ndarray:
        near = plain[:width]
        by = np.argsort(-averaged_similarity(query, gallery[near], neighbours=neighbours), kind="stable")
        return nearest_first(np.r_[near[by], plain[width:]], plain)

    return order


def reciprocal(width: int, k1: int, k2: int, *, is_free: bool = False) -> Order:
    def order(query: np.ndarray, gallery: np.ndarray, plain: np.ndarray) -> np.ndarray:
        near = plain[:width]
        by = np.argsort(k_reciprocal(query[None], gallery[near], k1=k1, k2=k2)[0], kind="stable")
        found = np.r_[near[by], plain[width:]]
        return found if is_free else nearest_first(found, plain)

    return order


def expanded(neighbours: int) -> Order:
    """By a second search with the average."""

    def order(query: np.ndarray, gallery: np.ndarray, plain: np.ndarray) -> np.ndarray:
        near = gallery[plain[:neighbours]]
        both = query + np.clip(near @ query, 0, 1) ** 3 @ near
        return nearest_first(np.argsort(-(gallery @ both), kind="stable"), plain)

    return order


WAYS: dict[str, Order] = {
    "query expansion, 3": expanded(3),
    "**averaged, nearest 50, 3** (default)": averaged(50, 3),
    "averaged, nearest 100, 3": averaged(100, 3),
    "averaged, nearest 100, 5": averaged(100, 5),
    "averaged, whole gallery, 3": averaged(10**6, 3),
    "k-reciprocal, nearest 50, k1 8": reciprocal(50, 8, 3),
    "**k-reciprocal, nearest 100, k1 8** (`--rerank`)": reciprocal(100, 8, 3),
    "k-reciprocal, nearest 200, k1 8": reciprocal(200, 8, 3),
    "k-reciprocal, nearest 100, k1 20, free": reciprocal(100, 20, 6, is_free=True),
}


def measured(
    gallery: np.ndarray, labels: np.ndarray, queries: np.ndarray, asked: np.ndarray
) -> dict[str, tuple[float, float, float]]:
    """way -> mAP@R and recall@1 in percent, and milliseconds a query, search itself left out."""
    plain = np.argsort(-(queries @ gallery.T), axis=1, kind="stable")
    found = {"plain similarity": (*scored(plain, labels, asked), 0.0)}
    for name, way in WAYS.items():
        began = time.perf_counter()
        orders = np.array([way(query, gallery, first) for query, first in zip(queries, plain, strict=True)])
        found[name] = (*scored(orders, labels, asked), 1000 * (time.perf_counter() - began) / len(queries))
    return found


def scored(orders: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> tuple[float, float]:
    is_right = labels[orders] == asked[:, None]
    answers = is_right.sum(1)
    ranks = np.arange(1, is_right.shape[1] + 1)
    precision = is_right.cumsum(1) / ranks * is_right * (ranks <= answers[:, None])
    return 100 * float((precision.sum(1) / answers).mean()), 100 * float(is_right[:, 0].mean())


def fold(labels: np.ndarray, classes: np.ndarray, each: int, dice: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Positions of a gallery and of the queries."""
    gallery, queries = [], []
    for label in classes:
        photos = dice.permutation(np.flatnonzero(labels == label))
        gallery.append(photos[:each])
        queries.append(photos[each:][-MOST_QUERIES:])
    return np.concatenate(gallery), np.concatenate(queries)


def show(name: str, folds: list[dict[str, tuple[float, float, float]]]) -> None:
    for way in folds[0] if folds else ():
        now = np.array([each[way] for each in folds])
        change = now - np.array([each["plain similarity"] for each in folds])
        gained = f"{change[:, 0].mean():+.1f} | {change[:, 0].min():+.1f} | {change[:, 1].mean():+.1f}"
        print(f"| {name} | {way} | {now[:, 0].mean():.1f} | {gained} | {now[:, 2].mean():.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=GROCERY, help="folder with train/ and test/")
    parser.add_argument("--test", action="store_true", help="measure test/, too")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--tuned", action="store_true", help="tuned heads, too: minutes more")
    parser.add_argument("--live", action="store_true", help="test/ through the running system, and nothing else")
    arguments = parser.parse_args()
    if arguments.live:
        live(arguments.data / "test")
        return
    with tempfile.TemporaryDirectory() as home:
        cache = Path(home) / "compiled"
        model = embedder.load(provide(Path(home) / "work", cache), cache_dir=cache)
        sets = [
            embedded(model, *read(folder, model)) if arguments.tuned else plain(model, *read(folder, model))
            for folder in (arguments.data / part for part in (("train", "test") if arguments.test else ("train",)))
        ]
    print("| gallery | order | mAP@R | change | worst fold | recall@1 | ms |\n|---|---|---|---|---|---|---|")
    data = sets[0]
    for kind in ("untrained", "tuned", "`fast`") if arguments.tuned else ("untrained", "`fast`"):
        for count, each in SHAPES:
            results = [folded(kind, data, count, each, seed) for seed in range(arguments.folds)]
            show(f"{kind}, {min(count, 21) if kind == '`fast`' else count} × {each}", [r for r in results if r])
    for test in sets[1:]:
        even, odd = halves(test)
        heads = {"untrained": test.vectors, "`fast`": fast(data.vectors, data.labels)(test.vectors)}
        if arguments.tuned:
            heads["tuned"] = Conversion(PLAIN, test.head(even))(test.vectors)
        for name, rows in heads.items():
            show(f"test, {name}", [measured(rows[even], test.labels[even], rows[odd], test.labels[odd])])


def live(folder: Path) -> None:
    """Indexes the even photos of each class and searches with the odd ones: results as they come, and by similarity."""
    classes = {each.name: sorted(each.glob("*.jpg")) for each in sorted(folder.iterdir()) if each.is_dir()}
    found: dict[str, list[np.ndarray]] = {"plain similarity": [], "as the search answers": []}
    answers: list[int] = []
    with tempfile.TemporaryDirectory() as home:
        gallery = Path(home) / "photos"
        for name, photos in classes.items():
            (gallery / name).mkdir(parents=True)
            for photo in photos[::2]:
                shutil.copy(photo, gallery / name)
        with Stack(settings_of.load({"LOOKALIKE_HOME": f"{home}/home"})) as stack:
            client = Client(stack.settings)
            index(client, Walk([gallery]), progress=lambda _done, _total: None)
            for name, photos in classes.items():
                for photo in photos[1::2]:
                    results = client.search(photo.read_bytes(), k=50).results
                    by_similarity = sorted(results, key=lambda result: -result.similarity)
                    for order, ranked in zip(found.values(), (by_similarity, results), strict=True):
                        order.append(np.array([result.label == name for result in ranked]))
                    answers.append(len(photos[::2]))
    print("| test, through the running system | mAP@R | recall@1 |\n|---|---|---|")
    for way, rows in found.items():
        is_right = np.stack(rows)
        ranks = np.arange(1, is_right.shape[1] + 1)
        precision = is_right.cumsum(1) / ranks * is_right * (ranks <= np.array(answers)[:, None])
        scores = precision.sum(1) / np.array(answers)
        print(f"| {way} | {100 * scores.mean():.1f} | {100 * is_right[:, 0].mean():.1f} |")


def plain(model: embedder.Embedder, pixels: np.ndarray, labels: np.ndarray) -> Embedded:
    vectors = embed(model, pixels).numpy()
    return Embedded(vectors, labels, vectors[None, :0])


def folded(kind: str, data: Embedded, count: int, each: int, seed: int) -> dict[str, tuple[float, float, float]]:
    """What is measured of one fold; nothing where a gallery is too small to be tuned to."""
    dice, labels, rows = np.random.default_rng((count, each, seed)), data.labels, data.vectors
    classes = dice.permutation(data.classes)
    taught, classes = (classes[:20], classes[20:]) if kind == "`fast`" else (classes[:0], classes)
    gallery, queries = fold(labels, classes[:count], each, dice)
    if kind == "`fast`":
        known = np.isin(labels, taught)
        rows = fast(rows[known], np.unique(labels[known], return_inverse=True)[1])(rows)
    elif kind == "tuned":
        try:
            rows = Conversion(PLAIN, data.head(gallery))(rows)
        except GalleryTooSmall:
            return {}
    return measured(rows[gallery], labels[gallery], rows[queries], labels[queries])


if __name__ == "__main__":
    main()
