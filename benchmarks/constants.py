"""The constants that probabilities of hits come from where nobody labelled enough: workers/process/honesty.py has them.

    python benchmarks/constants.py [--data ../shared/data/grocery]

Fitted on train/ of the folder, in galleries of many kinds; asked about test/, half of whose classes are absent. Of the
tuned model, the head is fitted to each gallery alone, and photos beside it ask: what asks a real gallery is new, too.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.tune import GROCERY, PLAIN, Embedded, embedded, read
from ml.model import embedder
from ml.model.default import provide
from ml.statistics.reliability import Judged
from ml.tuning.calibration import HITS, SAME_FROM, Calibration, Drawn, constants, fit_for_any, judged_hits
from ml.tuning.gallery_head import Conversion

# Photos of each class (0: half of them), classes (0: half of them), draws.
KINDS = ((3, 0, 2), (6, 0, 1), (12, 0, 1), (0, 0, 2), (12, 4, 2))
ASKED = ((0, 0, 4),)
MOST_QUERIES = 15


def beside(photos: Embedded, kinds: tuple[tuple[int, int, int], ...], seed: int) -> list[tuple[Drawn, np.ndarray]]:
    """Hits of photos beside galleries that the head was fitted to, and the labels of those that asked."""
    dice = np.random.default_rng(seed)
    found = []
    for each, count, draws in kinds:
        for _ in range(draws):
            classes = dice.permutation(photos.classes)
            present = count or (len(classes) + 1) // 2
            gallery, queries = [], []
            for place, label in enumerate(classes[: 2 * present]):
                rows = dice.permutation(np.flatnonzero(photos.labels == label))
                taken = (each or len(rows) // 2) if place < present else 0
                gallery.append(rows[:taken])
                queries.append(rows[taken:][:MOST_QUERIES])
            own, asking = np.concatenate(gallery), np.concatenate(queries)
            tuned = Conversion(PLAIN, photos.head(own))(photos.vectors)
            similarity, among = (tuned[rows] @ tuned[own].T for rows in (asking, own))
            labels = photos.labels
            hits = judged_hits(similarity.astype(np.float64), among.astype(np.float64), labels[asking], labels[own])
            found.append((hits, labels[asking]))
    return found


def judged(calibration: Calibration, asked: list[tuple[Drawn, np.ndarray]]) -> Judged:
    """What the calibration says of the first hits."""
    facts = np.concatenate([drawn[0] for drawn, _ in asked])
    weights = np.array(calibration.first)
    said = 1 / (1 + np.exp(-(facts @ weights[:-1] + weights[-1])))
    right, labels = np.concatenate([drawn[1] for drawn, _ in asked]), np.concatenate([asking for _, asking in asked])
    return Judged(said, right, labels, SAME_FROM)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=GROCERY, help="folder with train/ and test/")
    folder = parser.parse_args().data
    with tempfile.TemporaryDirectory() as home:
        cache = Path(home) / "compiled"
        model = embedder.load(provide(Path(home) / "work", cache), cache_dir=cache)
        known, test = (embedded(model, *read(folder / part, model)) for part in ("train", "test"))
    plain = fit_for_any(known.vectors, known.labels, source="other photos")
    drawn = [hits for hits, _ in beside(known, KINDS, 0)]
    tuned = constants(drawn, classes=known.classes, source="other photos")
    for name, found in {"_PLAIN": plain, "_TUNED": tuned}.items():
        print(f"{name}: {np.round(found.first, 2).tolist()}, {np.round(found.later, 2).tolist()}", flush=True)
    figures = judged(tuned, beside(test, ASKED, 1)).figures()
    print(f"tuned, photos beside the gallery ask, of {HITS} hits each:", {k: round(v, 3) for k, v in figures.items()})


if __name__ == "__main__":
    main()
