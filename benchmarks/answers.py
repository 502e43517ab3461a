"""How true the probabilities of hits are: "is the first hit right?", half of the classes absent from the gallery.

    python benchmarks/answers.py [--data ../shared/data/grocery] [--vectors FOLDER]

The folder holds train/ and test/, each with one folder per class, and no class in both. The default model and its
tuning: calibrated on train/ and asked about test/, whose photos it has not seen ("other photos"); and on half of the
classes of test/, asked about the other half ("own labels"), as a publish does. `fast`: the head in closed form, fitted
on all of train/; where its labels confirm it, the head is then fitted to the gallery, as `lookalike train` does beside
one. "Other photos" ask `fast` with a head of three quarters of the classes, calibrated on the rest. Where a head was
fitted to a gallery, its own photos ask (transductive), and new ones: every second photo is indexed, those between ask.
Intervals are over classes. FOLDER keeps what was embedded, which takes most of the time: given again, it is used.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.constants import of_tuned
from benchmarks.tune import GROCERY, Embedded, confirmed, embedded, halves, kept, read, through_fast
from ml.model import embedder
from ml.model.default import provide
from ml.statistics.reliability import Judged
from ml.training import tuning_trial
from ml.tuning.calibration import SAME_FROM, Calibration
from ml.tuning.calibration_fit import cross_fitted, fit, fit_for_any
from ml.tuning.gallery_head import UNLABELLED, Scheme, through
from ml.tuning.left_out import of_gallery

Halves = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Tuned:
    """All photos by the head that was fitted to a gallery of some.

    Args:
        vectors: float32 [n, d], unit rows.
        as_new: float32 [g, g], similarities within the gallery where each that asks is new to the head.
    """

    vectors: np.ndarray
    as_new: np.ndarray

    @classmethod
    def to(cls, photos: Embedded, gallery: np.ndarray, scheme: Scheme = UNLABELLED) -> "Tuned":
        fitted = photos.fitted(gallery, scheme)
        as_new = of_gallery(fitted, scheme, photos.vectors[gallery], photos.views_of(gallery))
        return cls(through(fitted.linear_map)(photos.vectors), as_new)


def asked(
    calibration: Calibration,
    vectors: np.ndarray,
    labels: np.ndarray,
    halves: Halves | None = None,
    seed: int = 7,
) -> Judged:
    """What a search says of its first hit, and whether it is right: half of the classes are absent, four times.

    Args:
        calibration: what says it.
        vectors: float32 [n, d], unit rows.
        labels: int64 [n].
        halves: positions of the gallery and of the queries; None: each asks all the others, and finds itself.
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
            itself = [row] if halves is None else []
            hits = vectors[[*itself, *others[order]]]
            found = calibration.probabilities([*(1.0 for _ in itself), *similarity[order].tolist()], hits)
            assert found is not None
            said.append(found[len(itself)])
            right.append(labels[others[order[0]]] == labels[row])
    return Judged(np.array(said), np.array(right), np.tile(labels[queries], 4), SAME_FROM)


def own_labels(tuned: Tuned, labels: np.ndarray, halves: Halves | None) -> Judged:
    """Calibrated on the gallery's photos of half of the classes, asked of the other half; and in turn. `halves` as
    `asked` takes them: the head was fitted to the first, or to all."""
    order = np.random.default_rng(0).permutation(labels.max() + 1)
    gallery = np.arange(len(labels)) if halves is None else halves[0]
    said, right, asking = [], [], []
    for learned, others in ((order[::2], order[1::2]), (order[1::2], order[::2])):
        place = np.flatnonzero(np.isin(labels[gallery], learned))
        known = gallery[place]
        as_new = tuned.as_new[np.ix_(place, place)], np.ones(len(place), bool)
        calibration = fit(tuned.vectors[known], labels[known], source="own labels", as_new=as_new)
        if halves is None:
            left = np.flatnonzero(np.isin(labels, others))
            judged = asked(calibration, tuned.vectors[left], labels[left])
        else:
            gallery_of, queries = (half[np.isin(labels[half], others)] for half in halves)
            judged = asked(calibration, tuned.vectors, labels, (gallery_of, queries))
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
    everything, two = np.arange(len(asked_labels)), halves(asking)
    print("| first hit, half of the classes absent | *same*: precision | recall | Brier | ECE |\n|---|---|---|---|---|")

    def show(name: str, judged: Judged) -> None:
        print(row(name, judged), flush=True)

    plain = fit_for_any(known.vectors, labels, source="other photos")
    show("untrained, other photos", asked(plain, asking.vectors, asked_labels))
    show("untrained, own labels", cross_fitted(asking.vectors, asked_labels))
    constants = of_tuned(known)
    by_all, by_half = (Tuned.to(asking, gallery) for gallery in (everything, two[0]))
    show("tuned (transductive), other photos", asked(constants, by_all.vectors, asked_labels))
    show("tuned (transductive), own labels", own_labels(by_all, asked_labels, None))
    show("tuned, new photos ask, other photos", asked(constants, by_half.vectors, asked_labels, two))
    show("tuned, new photos ask, own labels", own_labels(by_half, asked_labels, two))
    is_taught = labels < 3 * known.classes // 4
    taught, other = through_fast(known, asking, np.flatnonzero(is_taught))
    others = fit(taught.vectors[~is_taught], labels[~is_taught], source="other photos")
    show("`fast`, not tuned, other photos", asked(others, other.vectors, asked_labels))
    _, fast = through_fast(known, asking, np.arange(len(labels)))
    show("`fast`, not tuned, own labels", cross_fitted(fast.vectors, asked_labels))
    tried = confirmed(known)
    print(f"<!-- the end of the training: {tried} -->")
    # Where nothing is confirmed, a training leaves the head as it is: what it would be like is still to be known.
    scheme = tried.scheme or tuning_trial.SCHEMES[0]
    by_all, by_half = (Tuned.to(fast, gallery, scheme) for gallery in (everything, two[0]))
    show("`fast`, tuned (transductive), own labels", own_labels(by_all, asked_labels, None))
    show("`fast`, tuned, new photos ask, own labels", own_labels(by_half, asked_labels, two))
    print(f"<!-- {len(labels)} and {len(asked_labels)} photos, {time.perf_counter() - began:.0f} s in all -->")


if __name__ == "__main__":
    main()
