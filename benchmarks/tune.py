"""What a head fitted on a gallery's own pairs brings, with no label: on galleries of every shape, and what it costs.

    python benchmarks/tune.py DATA [--test TEST] [--folds 6]

DATA and TEST are folders with one folder per class. Of DATA, classes are drawn for each fold: some photos of each make
the gallery, up to fifteen others ask ("new queries"). Choose constants on DATA; TEST is measured once: the whole
gallery, where each photo asks the others and the head was fitted on all of them (transductive); and the even photos of
each class as the gallery with the odd ones asking. Figures are mAP@R and recall@1 in percent.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from ml.data import datasets, decoding
from ml.evaluation.evaluate import embed
from ml.evaluation.metrics import evaluate_retrieval
from ml.model import embedder
from ml.model.default import provide
from ml.model.head import Head
from ml.tuning.gallery_head import Conversion, GalleryTooSmall, fit_gallery

# Classes and photos of each: one to three, as in a shop's catalogue, and more, as in an album.
SHAPES = ((30, 1), (15, 2), (10, 3), (41, 2), (33, 3), (41, 3), (20, 6), (20, 12), (41, 15))
MOST_QUERIES = 15
PLAIN = Head(False)


def measured(
    gallery: np.ndarray, labels: np.ndarray, queries: np.ndarray | None, query_labels: np.ndarray | None
) -> np.ndarray:
    """mAP@R and recall@1 in percent; without queries each of the gallery against the others."""
    own = torch.from_numpy(gallery), torch.from_numpy(labels)
    if queries is None or query_labels is None:
        found = evaluate_retrieval(*own, ks=(1,))
    else:
        found = evaluate_retrieval(torch.from_numpy(queries), torch.from_numpy(query_labels), *own, ks=(1,))
    return np.array([100 * found.map_at_r, 100 * found.recall[1]])


def tuned(gallery: np.ndarray) -> Head:
    """The head for a gallery; one that changes nothing where it is too small, as `lookalike tune` leaves it."""
    try:
        return Head(False, tuning=(fit_gallery(gallery).linear_map,))
    except GalleryTooSmall:
        return PLAIN


def fold(labels: np.ndarray, classes: int, each: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of a gallery and of the queries."""
    dice = np.random.default_rng((classes, each, seed))
    gallery, queries = [], []
    for label in dice.permutation(labels.max() + 1)[:classes]:
        photos = dice.permutation(np.flatnonzero(labels == label))
        gallery.append(photos[:each])
        queries.append(photos[each:][-MOST_QUERIES:])
    return np.concatenate(gallery), np.concatenate(queries)


def row(name: str, before: np.ndarray, after: np.ndarray) -> str:
    change = after - before
    cells = [f"{b:.1f} → {a:.1f}" for b, a in zip(before.mean(0), after.mean(0), strict=True)]
    worst = ", ".join(f"{value:+.1f}" for value in change.min(0))
    return f"| {name} | {cells[0]} | {cells[1]} | {worst} |"


def vectors_of(folder: Path, model: embedder.Embedder) -> tuple[np.ndarray, np.ndarray]:
    decoded = decoding.decode(datasets.load(folder), model.preprocessing)
    return embed(model, decoded.array).numpy(), decoded.dataset.labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--test", type=Path)
    parser.add_argument("--folds", type=int, default=6)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        model = embedder.load(provide(Path(home) / "work", Path(home) / "compiled"), cache_dir=Path(home) / "compiled")
        vectors, labels = vectors_of(arguments.data, model)
        test = vectors_of(arguments.test, model) if arguments.test else None
    print("| new queries, classes × photos of each | mAP@R | recall@1 | worst fold |\n|---|---|---|---|")
    for classes, each in SHAPES:
        before, after = [], []
        for seed in range(arguments.folds):
            gallery, queries = fold(labels, classes, each, seed)
            head = tuned(vectors[gallery])
            for results, used in ((before, PLAIN), (after, head)):
                rows = (Conversion(PLAIN, used)(vectors[part]) for part in (gallery, queries))
                gallery_rows, query_rows = rows
                results.append(measured(gallery_rows, labels[gallery], query_rows, labels[queries]))
        print(row(f"{classes} × {each}", np.array(before), np.array(after)), flush=True)
    if test is not None:
        vectors, labels = test
        order = np.concatenate([np.flatnonzero(labels == label) for label in range(labels.max() + 1)])
        even, odd = order[::2], order[1::2]
        began = time.perf_counter()
        whole = tuned(vectors)
        seconds = time.perf_counter() - began
        everything = [measured(Conversion(PLAIN, head)(vectors), labels, None, None) for head in (PLAIN, whole)]
        print(row("test, whole gallery (transductive)", everything[0][None], everything[1][None]))
        half = tuned(vectors[even])
        asked = [
            measured(
                Conversion(PLAIN, head)(vectors[even]), labels[even], Conversion(PLAIN, head)(vectors[odd]), labels[odd]
            )
            for head in (PLAIN, half)
        ]
        print(row("test, new queries", asked[0][None], asked[1][None]))
        print(json.dumps({"photos": len(vectors), "fit seconds": round(seconds, 2)}))


if __name__ == "__main__":
    main()
