"""What a head fitted to a gallery brings, with no label: on galleries of every shape, and on photos kept for the end.

    python benchmarks/tune.py [--data ../shared/data/grocery] [--folds 3] [--fast] [--vectors FOLDER]

The folder holds train/ and test/, each with one folder per class. Of train/, classes are drawn for each fold: some
photos of each make the gallery, up to fifteen others ask ("new queries"). Where train/ has too few classes, its
photos with colours turned by a third and by two thirds stand for further ones ("with turned colours"). Choose
constants on train/; test/ is measured once: the even photos of each class as the gallery with the odd ones asking;
and the whole gallery, where each photo asks the others and the head was fitted on all of them (transductive). Figures
are mAP@R and recall@1 in percent.

`--fast`: before tuning, the head in closed form is fitted to the labels of some classes of train/, which galleries do
not have, and confirms on folds of these how far a gallery is to be believed, as `train --preset fast` does. FOLDER
keeps what was embedded.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ml.data import datasets, decoding
from ml.data.holdout import HeldOut
from ml.evaluation.evaluate import embed
from ml.evaluation.metrics import evaluate_retrieval
from ml.model import embedder
from ml.model.default import provide
from ml.model.head import Head, unit_length
from ml.training import tuning_trial
from ml.training.closed_form_head import closed_form_head
from ml.training.tuning_trial import Tried
from ml.tuning.gallery_head import UNLABELLED, Conversion, GalleryHead, Scheme, fit_gallery, views_for
from ml.tuning.views import views

# Classes and photos of each: one to three, as in a shop's catalogue, and more, as in an album.
SHAPES = (
    (30, 1),
    (15, 2),
    (10, 3),
    (100, 1),
    (50, 2),
    (33, 3),
    (123, 2),
    (100, 3),
    (75, 4),
    (41, 6),
    (20, 12),
    (20, 15),
)
# The same after `fast`: classes that it is taught, and galleries of others.
AFTER_FAST = {
    20: ((30, 1), (15, 2), (10, 3), (50, 2), (33, 3), (60, 3), (20, 6), (20, 15)),
    8: ((95, 1), (95, 2), (95, 3), (75, 4), (33, 3), (33, 6), (20, 15)),
}
MOST_QUERIES = 15
VIEWS = 4  # of each photo. `lookalike tune` draws up to four times as many in galleries of less than 512
OF_A_TURNED_CLASS = 8  # photos
PLAIN = Head(False)
GROCERY = Path(__file__).resolve().parents[2] / "shared" / "data" / "grocery"


@dataclass(frozen=True)
class Embedded:
    """Vectors float32 [n, d], labels int64 [n], and the vectors of views [v, n, d]."""

    vectors: np.ndarray
    labels: np.ndarray
    views: np.ndarray

    @property
    def classes(self) -> int:
        return int(self.labels.max()) + 1

    def fitted(self, gallery: np.ndarray, scheme: Scheme = UNLABELLED) -> GalleryHead:
        """What is fitted to a gallery, as `lookalike tune` does it."""
        return fit_gallery(self.vectors[gallery], self.views_of(gallery), scheme)

    def views_of(self, gallery: np.ndarray) -> list[np.ndarray]:
        """Views of each photo of a gallery that it is fitted on."""
        return list(self.views[: views_for(len(gallery)), gallery])

    def head(self, gallery: np.ndarray, scheme: Scheme = UNLABELLED) -> Head:
        """The head for a gallery."""
        return Head(False, tuning=(self.fitted(gallery, scheme).linear_map,))


def fast(vectors: np.ndarray, labels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The head that `train --preset fast` fits, of one side of each photo."""

    def normalised(rows: np.ndarray) -> torch.Tensor:
        return torch.nn.functional.layer_norm(torch.from_numpy(rows) * len(rows[0]), rows.shape[1:])

    weight, bias = closed_form_head(normalised(vectors), torch.from_numpy(labels), dim=512)
    return lambda rows: unit_length((normalised(rows) @ weight.T + bias).numpy())


def through_fast(known: Embedded, others: Embedded, taught: np.ndarray) -> tuple[Embedded, Embedded]:
    """Both through the head of `fast`, which was taught some photos of the first: positions."""
    head = fast(known.vectors[taught], known.labels[taught])

    def through(each: Embedded) -> Embedded:
        return Embedded(head(each.vectors), each.labels, np.stack([head(view) for view in each.views]))

    return through(known), through(others)


def confirmed(data: Embedded, taught: np.ndarray | None = None) -> Tried:
    """How far `train --preset fast` lets a gallery be believed, taught some photos: positions; None for all."""
    rows = np.arange(len(data.vectors)) if taught is None else taught
    vectors, labels = data.vectors[rows], data.labels[rows]
    nothing = HeldOut(np.zeros(len(rows), bool), "none", "")
    groups = tuning_trial.groups_of(labels, nothing, is_head_alone=True, seed=0)

    def through_others(group: tuning_trial.Group) -> tuple[torch.Tensor, torch.Tensor]:
        others = np.setdiff1d(np.arange(len(rows)), np.concatenate([group.gallery, group.queries]))
        head = fast(vectors[others], labels[others])
        of_views = [head(view[rows[group.gallery]]) for view in data.views[: tuning_trial.VIEWS]]
        return torch.from_numpy(head(vectors)), torch.from_numpy(np.concatenate(of_views))

    return tuning_trial.try_schemes(labels, groups, through_others)


def embedded(model: embedder.Embedder, pixels: np.ndarray, labels: np.ndarray, count: int = VIEWS) -> Embedded:
    """Photos and so many views of each."""
    vectors = embed(model, pixels).numpy()
    parts = []
    for start in range(0, len(pixels), 64):
        drawn = np.concatenate([views(each, count, start + n) for n, each in enumerate(pixels[start : start + 64])])
        parts.append(embed(model, drawn).numpy().reshape(-1, count, vectors.shape[1]))
    return Embedded(vectors, labels, np.concatenate(parts).transpose(1, 0, 2))


def kept(folder: Path | None, name: str, make: Callable[[], Embedded]) -> Embedded:
    """What an earlier run has left in the folder, else what is made, which is left there."""
    file = None if folder is None else folder / f"{name}.npz"
    if file is not None and file.exists():
        with np.load(file) as held:
            return Embedded(held["vectors"], held["labels"], held["views"])
    made = make()
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, vectors=made.vectors, labels=made.labels, views=made.views)
    return made


def read(folder: Path, model: embedder.Embedder) -> tuple[np.ndarray, np.ndarray]:
    decoded = decoding.decode(datasets.load(folder), model.preprocessing)
    return decoded.array, decoded.dataset.labels


def turned(pixels: np.ndarray, labels: np.ndarray, thirds: int) -> tuple[np.ndarray, np.ndarray]:
    """Some photos of each class with their colours turned, and the labels of further classes for them."""
    chosen = np.concatenate([np.flatnonzero(labels == label)[:OF_A_TURNED_CLASS] for label in np.unique(labels)])
    found = []
    for each in pixels[chosen]:
        hsv = np.array(Image.fromarray(each).convert("HSV"))
        hsv[..., 0] += np.uint8(thirds * 85)  # goes round at 256
        found.append(np.asarray(Image.fromarray(hsv, "HSV").convert("RGB")))
    return np.stack(found), labels[chosen] + thirds * (labels.max() + 1)


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


def asked(data: Embedded, gallery: np.ndarray, queries: np.ndarray, scheme: Scheme | None = UNLABELLED) -> np.ndarray:
    """Before and after tuning to the gallery: float [2, 2]. No scheme: nothing is tuned."""
    figures = []
    for head in (PLAIN, PLAIN if scheme is None else data.head(gallery, scheme)):
        apply = Conversion(PLAIN, head)
        rows = apply(data.vectors[gallery]), apply(data.vectors[queries])
        figures.append(measured(rows[0], data.labels[gallery], rows[1], data.labels[queries]))
    return np.stack(figures)


def halves(data: Embedded) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the even photos of each class, and of the odd ones."""
    order = np.concatenate([np.flatnonzero(data.labels == label) for label in range(data.classes)])
    return order[::2], order[1::2]


def fold(data: Embedded, among: int | np.ndarray, classes: int, each: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of a gallery and of the queries, of classes that are drawn among these, or among the first so many."""
    dice = np.random.default_rng((classes, each, seed))
    gallery, queries = [], []
    for label in dice.permutation(among)[:classes]:
        photos = dice.permutation(np.flatnonzero(data.labels == label))
        gallery.append(photos[:each])
        queries.append(photos[each:][-MOST_QUERIES:])
    return np.concatenate(gallery), np.concatenate(queries)


def after_fast(data: Embedded, own: int, folds: int) -> None:
    """Prints what tuning brings after `fast`, in galleries of classes that it was not taught, of any colours."""
    for taught_classes, shapes in AFTER_FAST.items():
        taught = np.flatnonzero(data.labels < taught_classes)
        tried = confirmed(data, taught)
        print(f"<!-- taught {taught_classes} classes: {tried} -->", flush=True)
        _, heads = through_fast(data, data, taught)
        others = np.flatnonzero(np.arange(data.classes) % own >= taught_classes)
        plain = others[others < own]
        for classes, each in shapes:
            among = plain if classes <= len(plain) else others
            figures = [asked(heads, *fold(data, among, classes, each, seed), tried.scheme) for seed in range(folds)]
            name = f"`fast` of {taught_classes} classes, {classes} × {each}"
            print(row(name + ("" if among is plain else ", with turned colours"), np.stack(figures)), flush=True)


def row(name: str, figures: np.ndarray, *, is_single: bool = False) -> str:
    """float [folds, 2, 2] as a row of a table."""
    before, after = figures.mean(0)
    cells = " | ".join(f"{b:.1f} → {a:.1f}" for b, a in zip(before, after, strict=True))
    worst = "" if is_single else ", ".join(f"{value:+.1f}" for value in (figures[:, 1] - figures[:, 0]).min(0))
    return f"| {name} | {cells} | {worst} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=GROCERY, help="folder with train/ and test/")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--views", type=int, default=VIEWS, help="of each photo that are embedded, at least three")
    parser.add_argument("--fast", action="store_true", help="after the head of fast instead of without any training")
    parser.add_argument("--vectors", type=Path, help="folder that keeps what was embedded")
    arguments = parser.parse_args()
    began = time.perf_counter()
    print("| gallery | mAP@R | recall@1 | worst fold: mAP@R, recall@1 |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as home:
        model = embedder.load(provide(Path(home) / "work", Path(home) / "compiled"), cache_dir=Path(home) / "compiled")

        def with_turned_colours() -> Embedded:
            pixels, labels = read(arguments.data / "train", model)
            copies = [turned(pixels, labels, thirds) for thirds in (1, 2)]
            everything = [np.concatenate(parts) for parts in zip((pixels, labels), *copies, strict=True)]
            return embedded(model, everything[0], everything[1], arguments.views)

        of_views = "" if arguments.views == VIEWS else f"-{arguments.views}-views"
        data = kept(arguments.vectors, f"train-turned{of_views}", with_turned_colours)
        if arguments.fast:
            after_fast(data, data.classes // 3, arguments.folds)
            return
        test = kept(
            arguments.vectors,
            f"test{of_views}",
            lambda: embedded(model, *read(arguments.data / "test", model), arguments.views),
        )
    own = data.classes // 3
    embedding_s = time.perf_counter() - began
    print(row("**test, new queries**", asked(test, *halves(test))[None], is_single=True), flush=True)
    fit_began = time.perf_counter()
    head = test.head(np.arange(len(test.vectors)))
    fit_s = time.perf_counter() - fit_began
    whole = [measured(Conversion(PLAIN, each)(test.vectors), test.labels, None, None) for each in (PLAIN, head)]
    print(row("test, whole gallery (transductive)", np.stack(whole)[None], is_single=True), flush=True)
    for classes, each in SHAPES:
        among = own if classes <= own else data.classes
        if classes > among:
            continue
        figures = [asked(data, *fold(data, among, classes, each, seed)) for seed in range(arguments.folds)]
        name = f"{classes} × {each}" + ("" if among == own else ", with turned colours")
        print(row(name, np.stack(figures)), flush=True)
    photos = len(data.vectors) + len(test.vectors)
    print(
        f"<!-- {arguments.folds} folds; {photos} photos with {arguments.views} views each embedded in"
        f" {embedding_s:.0f} s, a head fitted in {fit_s:.1f} s, {time.perf_counter() - began:.0f} s in all -->"
    )


if __name__ == "__main__":
    main()
