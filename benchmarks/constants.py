"""The constants that probabilities of hits come from where nobody labelled enough: workers/process/honesty.py has them.

    python benchmarks/constants.py [--data ../shared/data/grocery] [--vectors FOLDER]

Fitted on train/ of the folder, in galleries of many kinds; asked about test/, half of whose classes are absent. Of the
tuned model, the head is fitted to each gallery alone, and photos beside it ask: what asks a real gallery is new, too.
Queries that are photos of the gallery have constants of their own, fitted on a head that was fitted to all of them.
FOLDER keeps what was embedded.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.tune import GROCERY, PLAIN, Embedded, embedded, kept, read
from ml.model import embedder
from ml.model.default import provide
from ml.statistics.reliability import Judged
from ml.tuning.calibration import HITS, SAME_FROM, Calibration
from ml.tuning.calibration_fit import Drawn, constants, fit_for_any, judged_hits
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


def of_tuned(photos: Embedded) -> Calibration:
    """The constants of the tuned model."""
    drawn = [hits for hits, _ in beside(photos, KINDS, 0)]
    new = constants(drawn, classes=photos.classes, source="other photos")
    tuned = Conversion(PLAIN, photos.head(np.arange(len(photos.vectors))))(photos.vectors)
    own = fit_for_any(tuned, photos.labels, source="other photos")
    return replace(new, of_gallery=(own.first, own.later))


def judged(calibration: Calibration, asked: list[tuple[Drawn, np.ndarray]]) -> Judged:
    """What the calibration says of the first hits."""
    facts = np.concatenate([drawn[0] for drawn, _ in asked])
    weights = np.array(calibration.first)
    said = 1 / (1 + np.exp(-(facts @ weights[:-1] + weights[-1])))
    right, labels = np.concatenate([drawn[1] for drawn, _ in asked]), np.concatenate([asking for _, asking in asked])
    return Judged(said, right, labels, SAME_FROM)


def rounded(*weights: Sequence[float]) -> str:
    return ", ".join(str(tuple(np.round(each, 2).tolist())) for each in weights)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=GROCERY, help="folder with train/ and test/")
    parser.add_argument("--vectors", type=Path, help="folder that keeps what was embedded")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        cache = Path(home) / "compiled"
        model = embedder.load(provide(Path(home) / "work", cache), cache_dir=cache)
        known, test = (
            kept(arguments.vectors, part, lambda part=part: embedded(model, *read(arguments.data / part, model)))  # type: ignore[misc]
            for part in ("train", "test")
        )
    plain = fit_for_any(known.vectors, known.labels, source="other photos")
    tuned = of_tuned(known)
    for name, found in {"_PLAIN": plain, "_TUNED": tuned}.items():
        print(f"{name}: {rounded(found.first, found.later)}", flush=True)
    print(f"_TUNED, of_gallery: {rounded(*(tuned.of_gallery or ()))}", flush=True)
    figures = judged(tuned, beside(test, ASKED, 1)).figures()
    print(f"tuned, photos beside the gallery ask, of {HITS} hits each:", {k: round(v, 3) for k, v in figures.items()})


if __name__ == "__main__":
    main()
