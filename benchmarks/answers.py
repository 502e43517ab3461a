"""How true the probabilities of hits are: "is the first hit right?", half of the classes absent from the gallery.

    python -m benchmarks.answers DATA TEST

DATA and TEST are folders with one folder per class, with no class in both. The default model and its tuning: calibrated
on DATA and asked about TEST, whose photos it has not seen ("other photos"); and on half of the classes of TEST, asked
about the other half ("own labels"), as a publish does. `fast`: the head in closed form, fitted on three quarters of the
classes of DATA, calibrated on the rest. "Same" is the verdict from 0.6 on; its precision stands with a 95 % interval.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.tune import Embedded, embedded, read
from ml.model import embedder
from ml.model.default import provide
from ml.model.head import Head, unit_length
from ml.training.closed_form_head import closed_form_head
from ml.tuning.calibration import Calibration, fit, reliability
from ml.tuning.gallery_head import Conversion

PLAIN = Head(False)


def tuned(photos: Embedded) -> np.ndarray:
    return Conversion(PLAIN, photos.head(np.arange(len(photos.vectors))))(photos.vectors)


def fast(vectors: np.ndarray, labels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The head that `train --preset fast` fits, of features that were layer-normalised."""

    def normalised(rows: np.ndarray) -> torch.Tensor:
        return torch.nn.functional.layer_norm(torch.from_numpy(rows) * len(rows[0]), rows.shape[1:])

    weight, bias = closed_form_head(normalised(vectors), torch.from_numpy(labels), dim=512)
    return lambda rows: unit_length((normalised(rows) @ weight.T + bias).numpy())


def asked(calibration: Calibration, vectors: np.ndarray, labels: np.ndarray, seed: int = 7) -> dict[str, float]:
    """What a search says of its first hit, and how true it is: every photo asks, half of the classes are absent."""
    dice = np.random.default_rng(seed)
    said, right = [], []
    for _ in range(4):
        classes = dice.permutation(labels.max() + 1)
        gallery = np.flatnonzero(np.isin(labels, classes[: len(classes) // 2]))
        for row in range(len(vectors)):
            others = gallery[gallery != row]
            similarity = vectors[others] @ vectors[row]
            order = np.argsort(-similarity, kind="stable")[:31]
            found = calibration.probabilities(similarity[order])
            assert found is not None
            said.append(found[0])
            right.append(labels[others[order[0]]] == labels[row])
    return reliability(np.array(said), np.array(right))


def row(name: str, figures: dict[str, float]) -> str:
    low, high = 100 * figures["precision_low"], 100 * figures["precision_high"]
    return (
        f"| {name} | {100 * figures['precision']:.1f} ({low:.1f} to {high:.1f}) | {100 * figures['recall']:.1f} |"
        f" {figures['brier']:.3f} | {figures['ece']:.3f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("test", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        cache = Path(home) / "compiled"
        model = embedder.load(provide(Path(home) / "work", cache), cache_dir=cache)
        known_photos, asked_photos = (embedded(model, *read(each, model)) for each in (arguments.data, arguments.test))
    data, data_labels = known_photos.vectors, known_photos.labels
    test, test_labels = asked_photos.vectors, asked_photos.labels
    taught = data_labels < 3 * (data_labels.max() + 1) // 4
    head = fast(data[taught], data_labels[taught])
    models = {
        "untrained": (data, data_labels, test),
        "tuned": (tuned(known_photos), data_labels, tuned(asked_photos)),
        "`fast`": (head(data[~taught]), data_labels[~taught], head(test)),
    }
    print("| first hit, half of the classes absent | *same*: precision | recall | Brier | ECE |\n|---|---|---|---|---|")
    for name, (known, known_labels, vectors) in models.items():
        others = fit(known, known_labels, source="other photos")
        print(row(f"{name}, other photos", asked(others, vectors, test_labels)), flush=True)
        print(row(f"{name}, own labels", dict(fit(vectors, test_labels, source="own labels").figures)), flush=True)
        if name != "`fast`":
            print(f"<!-- first {np.round(others.first, 2).tolist()}, later {np.round(others.later, 2).tolist()} -->")


if __name__ == "__main__":
    main()
