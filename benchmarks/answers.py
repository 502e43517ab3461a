"""How true the probabilities of hits are: "is the first hit right?", half of the classes absent from the gallery.

    python benchmarks/answers.py [--data ../shared/data/grocery] [--vectors FOLDER]

The folder holds train/ and test/, each with one folder per class, and no class in both. The default model and its
tuning: calibrated on train/ and asked about test/, whose photos it has not seen ("other photos"); and on half of the
classes of test/, asked about the other half ("own labels"), as a publish does. `fast`: the head in closed form, fitted
on three quarters of the classes of train/, calibrated on the rest. Each photo asks all the others; what is tuned to
photos that ask is marked as transductive, and stands beside the head of every second photo, asked by those between.
Intervals are over classes. FOLDER keeps what was embedded, which takes most of the time: given again, it is used.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.tune import GROCERY, Embedded, embedded, halves, kept, read
from ml.model import embedder
from ml.model.default import provide
from ml.model.head import Head, unit_length
from ml.statistics.reliability import Judged
from ml.training.closed_form_head import closed_form_head
from ml.tuning.calibration import SAME_FROM, Calibration, cross_fitted, fit, fit_for_any
from ml.tuning.gallery_head import Conversion

PLAIN = Head(False)


def tuned(photos: Embedded, gallery: np.ndarray | None = None) -> np.ndarray:
    """All of the photos through the head that is fitted to a gallery: positions; None for all of them."""
    return Conversion(PLAIN, photos.head(np.arange(len(photos.vectors)) if gallery is None else gallery))(
        photos.vectors
    )


def fast(vectors: np.ndarray, labels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The head that `train --preset fast` fits, of features that were layer-normalised."""

    def normalised(rows: np.ndarray) -> torch.Tensor:
        return torch.nn.functional.layer_norm(torch.from_numpy(rows) * len(rows[0]), rows.shape[1:])

    weight, bias = closed_form_head(normalised(vectors), torch.from_numpy(labels), dim=512)
    return lambda rows: unit_length((normalised(rows) @ weight.T + bias).numpy())


def asked(
    calibration: Calibration,
    vectors: np.ndarray,
    labels: np.ndarray,
    halves: tuple[np.ndarray, np.ndarray] | None = None,
    seed: int = 7,
) -> Judged:
    """What a search says of its first hit, and whether it is right: half of the classes are absent, four times.

    Args:
        calibration: what says it.
        vectors: float32 [n, d], unit rows.
        labels: int64 [n].
        halves: positions of the gallery and of the queries; None: each asks all the others.
        seed: of which classes are absent.
    """
    everything = np.arange(len(vectors))
    gallery, queries = halves or (everything, everything)
    dice = np.random.default_rng(seed)
    said, right = [], []
    for _ in range(4):
        classes = dice.permutation(np.unique(labels[gallery]))
        present = gallery[np.isin(labels[gallery], classes[: len(classes) // 2])]
        for row in queries:
            others = present[present != row]
            similarity = vectors[others] @ vectors[row]
            order = np.argsort(-similarity, kind="stable")[:31]
            found = calibration.probabilities(similarity[order].tolist(), vectors[others[order]])
            assert found is not None
            said.append(found[0])
            right.append(labels[others[order[0]]] == labels[row])
    return Judged(np.array(said), np.array(right), np.tile(labels[queries], 4), SAME_FROM)


def own_labels(vectors: np.ndarray, labels: np.ndarray, halves: tuple[np.ndarray, np.ndarray]) -> Judged:
    """Calibrated on the gallery's photos of half of the classes, asked by new photos of the other half; and in turn."""
    order = np.random.default_rng(0).permutation(labels.max() + 1)
    said, right, asking = [], [], []
    for learned, others in ((order[::2], order[1::2]), (order[1::2], order[::2])):
        known = halves[0][np.isin(labels[halves[0]], learned)]
        left = tuple(half[np.isin(labels[half], others)] for half in halves)
        judged = asked(fit(vectors[known], labels[known], source="own labels"), vectors, labels, (left[0], left[1]))
        said.append(judged.said)
        right.append(judged.is_right)
        asking.append(judged.labels)
    return Judged(np.concatenate(said), np.concatenate(right), np.concatenate(asking), SAME_FROM)


def row(name: str, judged: Judged) -> str:
    figures, intervals = judged.figures(), judged.intervals()
    cells = []
    for key, scale, digits in (("precision", 100, 1), ("recall", 100, 1), ("brier", 1, 3), ("ece", 1, 3)):
        low, high = (scale * end for end in intervals[key])
        cells.append(f"{scale * figures[key]:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})")
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=GROCERY, help="folder with train/ and test/")
    parser.add_argument("--vectors", type=Path, help="folder that keeps what was embedded")
    arguments = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as home:
        cache = Path(home) / "compiled"
        model = embedder.load(provide(Path(home) / "work", cache), cache_dir=cache)
        known, asking = (
            kept(arguments.vectors, part, lambda part=part: embedded(model, *read(arguments.data / part, model)))  # type: ignore[misc]
            for part in ("train", "test")
        )
    labels, asked_labels = known.labels, asking.labels
    two = halves(asking)
    taught = labels < 3 * (labels.max() + 1) // 4
    head = fast(known.vectors[taught], labels[taught])
    models = {
        "untrained": (known.vectors, labels, asking.vectors, None),
        "tuned (transductive)": (tuned(known), labels, tuned(asking), None),
        "tuned, new photos ask": (tuned(known), labels, tuned(asking, two[0]), two),
        "`fast`": (head(known.vectors[~taught]), labels[~taught], head(asking.vectors), None),
    }
    print("| first hit, half of the classes absent | *same*: precision | recall | Brier | ECE |\n|---|---|---|---|---|")
    for name, (vectors, of_vectors, queries, parts) in models.items():
        others = (fit if name == "`fast`" else fit_for_any)(vectors, of_vectors, source="other photos")
        print(row(f"{name}, other photos", asked(others, queries, asked_labels, parts)), flush=True)
        own = own_labels(queries, asked_labels, parts) if parts else cross_fitted(queries, asked_labels)
        print(row(f"{name}, own labels", own), flush=True)
        if parts is None:
            print(f"<!-- first {np.round(others.first, 2).tolist()}, later {np.round(others.later, 2).tolist()} -->")
    print(f"<!-- {len(labels)} and {len(asked_labels)} photos, {time.perf_counter() - began:.0f} s in all -->")


if __name__ == "__main__":
    main()
