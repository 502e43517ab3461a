"""How good training makes neighbours, ours beside its peers, on photos of classes that no run has seen.

    python benchmarks/training.py [--data DIR] [--fold K | --closed N [--demo]] [--seeds 3] [--epochs N] [--train-px N]
                                  [--test-px N] [--images N] [--only ROW ...] [--keep FILE] [--quick] [--json]

Every row starts from the same ImageNet weights, and is measured on `test` by the same code (ml.evaluation.evaluate).
Nothing is chosen by the test set: settings were chosen by classes held out of `train` (benchmarks/LOG.md).

    untrained 128     the pretrained network at 128 px, no head
    untrained         the same as the default model ships it, 224 px
    fast              `lookalike train --preset fast`
    accurate          `lookalike train`
    softmax           plain softmax, as the original's notebook 01: the accurate preset's loop, epochs and augmentation
    softmax + head    the same with our closed-form head
    supcon            `lookalike train --loss supcon`: the same head, epochs and augmentation as `accurate`
    multi_similarity  `lookalike train --loss multi_similarity`
    pml               pytorch-metric-learning's NormalizedSoftmaxLoss in the loop of its examples: same backbone, batch
                      and image size, its MPerClassSampler, torchvision's augmentation, as many images as `accurate`
    oml               open-metric-learning's TripletLossWithMiner in the loop of its front page, as above; left out
                      where it is not installed
    naive             six epochs of cross-entropy over a linear layer, as a tutorial has it: Adam, batches of 32, 224 px

With `--fold K` (0 to 3) every fourth class of `train`, from the K-th on, is tested on and the others are trained on: to
choose settings without `test`. With `--closed N` a closed set of few classes instead: N of the classes of `train`, a
third of each one's photos for testing; with `--demo` they are families of drawn products. `--epochs`, `--train-px`,
`--test-px` and `--images` (of each class to train on) make all rows alike smaller.

How long a seed takes, in minutes of one core, `--only accurate softmax supcon multi_similarity pml oml` together:

    --images 10 --epochs 6 --train-px 96 --test-px 160    6 (measured)
    --images 15 --epochs 10 --train-px 112                17 (by the images and pixels seen)
    none of these                                         72 (measured)

Images are decoded once for all rows and seeds, a quarter larger than they are trained on. Whether the head gains from a
gallery's own photos, which `lookalike train` also tries, is left out: it changes nothing that is measured here.

mAP@R in per cent, mean and standard deviation over seeds, with a 95 % interval over classes (of each class the mean
over seeds); then `accurate` minus each row, paired by class. `rerank`, `binary` and `128-d` are mAP@R after re-ranking,
of binary codes, and of the vector's first 128 dimensions. `cpu s` is processor time over all cores: on a machine that
does other things too it says more than `wall s`. Neither counts decoding. `--keep` appends each row to a file when it
is measured, and repeats none that is there: the same command goes on after an interruption, and with `--seeds 0` it
prints the table of what there is.
"""

import argparse
import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deploy import demo_photos
from ml.data import datasets
from ml.data.datasets import Dataset, Progress
from ml.data.decoding import Pixels
from ml.errors import LookalikeError
from ml.evaluation.evaluate import embed, measure
from ml.model import embedder
from ml.model.network import pretrained
from ml.model.save import save_bundle
from ml.preprocessing import Preprocessing
from ml.statistics.uncertainty import ByClass, difference, interval
from ml.training import lineage
from ml.training.config import preset_config
from ml.training.features import Cache
from ml.training.train import train

GROCERY = Path(__file__).parents[2] / "shared" / "data" / "grocery"
QUICK: dict[str, Any] = {"train_px": 64, "test_px": 64, "dim": 160, "epochs": 2}
FOLDS = 4
# It asks for numpy < 2, and so for an environment without us; what we use of it works with numpy 2 all the same.
OML = (
    "pip install --no-deps --target DIR open-metric-learning gdown validators omegaconf beautifulsoup4 soupsieve"
    " filelock, and PYTHONPATH=DIR"
)
Row = dict[str, Any]
Make = Callable[[Dataset, Path, dict[str, Any], Cache], Path]


class Decoded(Cache):
    """Decoded images that all rows share, and how long decoding took: it would be counted to whichever row is first."""

    def __init__(self) -> None:
        super().__init__()
        self.wall_s = 0.0

    def pixels(self, data: Dataset, preprocessing: Preprocessing, on_progress: Progress | None) -> Pixels:
        began = time.perf_counter()
        found = super().pixels(data, preprocessing, on_progress)
        self.wall_s += time.perf_counter() - began
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=GROCERY, help="folder with train/ and test/, one folder per class")
    parser.add_argument("--fold", type=int, choices=range(FOLDS), help="test on a quarter of the classes of train/")
    parser.add_argument("--closed", type=int, metavar="N", help="N classes, the same in training and test")
    parser.add_argument("--demo", action="store_true", help="--closed of drawn products")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="of ours, and of the images that peers see")
    parser.add_argument("--images", type=int, metavar="N", help="at most N photos of each class to train on")
    parser.add_argument("--train-px", type=int, help="side of the images in training")
    parser.add_argument("--test-px", type=int, help="side of the images that finished models take; not of `untrained`")
    parser.add_argument("--only", nargs="+", default=list(ROWS), choices=list(ROWS), metavar="ROW")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="append rows here, and go on from what is in it")
    parser.add_argument("--quick", action="store_true", help="drawn photos, two epochs, one seed: does it run at all")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if "oml" in options.only and importlib.util.find_spec("oml") is None:
        options.only.remove("oml")
        print(f"without oml, which is not installed: {OML}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as scratch:
        if options.quick:
            options.data, options.seeds = _drawn(Path(scratch) / "photos"), 1
        train_set, test_set = _sets(options, Path(scratch))
        if options.images:
            train_set = _few_of_each(train_set, options.images)
        rows = []
        for row in measured(options, train_set, test_set, Path(scratch)):
            rows.append(row)
            if not options.json:
                print(
                    f"{row['row']} seed {row['seed']}: mAP@R {100 * row['map@r']:.1f} in {row['wall_s']:.0f} s",
                    flush=True,
                )
    facts = {"commit": lineage.commit(), "machine": lineage.device_name(), "threads": torch.get_num_threads()}
    facts |= {"torch": torch.__version__, "train": len(train_set), "test": len(test_set)}
    print(json.dumps(facts | {"rows": rows}, indent=2) if options.json else f"\n{table(rows)}\n\n{facts}")


def measured(options: argparse.Namespace, train_set: Dataset, test_set: Dataset, scratch: Path) -> Iterator[Row]:
    """One row per contestant and seed; first those that are kept."""
    asked = {"epochs": options.epochs, "train_px": options.train_px, "test_px": options.test_px}
    changes = {name: value for name, value in asked.items() if value is not None} | (QUICK if options.quick else {})
    budget = changes | {"train": train_set.fingerprint[:12], "test": test_set.fingerprint[:12]}
    done = _kept(options.keep, budget)
    yield from done.values()
    shared = Decoded()
    for seed in range(options.seeds):  # seed by seed, so that what an interruption leaves can be compared
        for name in options.only:
            make, is_random = ROWS[name]
            if (name, seed) in done or (seed and not is_random):
                continue
            folder = scratch / f"{name}-{seed}".replace(" ", "-")
            began, processor, decoding_s = time.perf_counter(), time.process_time(), shared.wall_s
            made = make(train_set, folder, {"seed": seed} | changes, shared)
            wall_s = time.perf_counter() - began - (shared.wall_s - decoding_s)
            cpu_s = time.process_time() - processor  # without decoding, which other processes do
            figures, per_class = _figures(made, test_set, shared)
            row = {"row": name, "seed": seed, "wall_s": wall_s, "cpu_s": cpu_s, "budget": budget} | figures
            row["by_class"] = {"sums": per_class.sums.tolist(), "counts": per_class.counts.tolist()}
            row |= {"commit": lineage.commit(), "load": os.getloadavg()[0]}
            if options.keep:
                with options.keep.open("a") as file:
                    file.write(json.dumps(row) + "\n")
            yield row


def _figures(bundle_dir: Path, test_set: Dataset, shared: Cache) -> tuple[dict[str, Any], ByClass]:
    """As `ml.evaluation.evaluate.evaluate` finds them, of images that are decoded once."""
    model = embedder.load(bundle_dir)
    seen = shared.pixels(test_set, model.preprocessing, None)
    found = measure(embed(model, seen.array), seen.dataset.labels, rerank=True, binary=True)
    return found.metrics, found.figures["map@r"]


def _kept(path: Path | None, budget: dict[str, Any]) -> dict[tuple[str, int], Row]:
    """Rows by name and seed. Raises LookalikeError when they were measured with another budget."""
    if path is None or not path.exists():
        return {}
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        if row["budget"] != budget:
            raise LookalikeError(f"{path} holds rows of another budget, {row['budget']}", hint="--keep another file")
    return {(row["row"], row["seed"]): row for row in rows}


def _trained(preset: str, **fixed: Any) -> Make:
    def make(data: Dataset, folder: Path, changes: dict[str, Any], shared: Cache) -> Path:
        if preset == "fast":
            changes = {name: value for name, value in changes.items() if name != "epochs"}
        result = train(preset_config(preset, **(changes | fixed | {"tune": False})), data, folder, cache=shared)
        assert result is not None
        return result.bundle.directory

    return make


def _untrained(size_px: int | None) -> Make:
    def make(_: Dataset, folder: Path, _changes: dict[str, Any], _shared: Cache) -> Path:
        model, preprocessing = pretrained()
        if size_px:
            model.preprocessing = replace(preprocessing, size_px=size_px, resize_px=size_px, fit="squash")
        return save_bundle(model, folder, name=folder.name).directory

    return make


def _peer(name: str) -> Make:
    def make(data: Dataset, folder: Path, changes: dict[str, Any], shared: Cache) -> Path:
        from benchmarks import training_peers

        epochs = {"epochs": preset_config("accurate").epochs} | changes
        made: Path = getattr(training_peers, name)(data, folder, changes | epochs, shared)
        return made

    return make


# name -> (how to make the model, whether seeds matter)
ROWS: dict[str, tuple[Make, bool]] = {
    "untrained 128": (_untrained(128), False),
    "untrained": (_untrained(None), False),
    "fast": (_trained("fast"), False),
    "accurate": (_trained("accurate"), True),
    "softmax": (_trained("accurate", loss="softmax", images_per_class=0, head="none"), True),
    "softmax + head": (_trained("accurate", loss="softmax", images_per_class=0), True),
    "supcon": (_trained("accurate", loss="supcon"), True),
    "multi_similarity": (_trained("accurate", loss="multi_similarity"), True),
    "pml": (_peer("pytorch_metric_learning"), True),
    "oml": (_peer("open_metric_learning"), True),
    "naive": (_peer("naive"), True),
}

_COLUMNS = (
    ("mAP@R", "map@r"),
    ("R@1", "recall@1"),
    ("R@4", "recall@4"),
    ("mAP", "map"),
    ("rerank", "rerank_map@r"),
    ("binary", "binary_map@r"),
    ("128-d", "dim128_map@r"),
)


def table(rows: list[Row]) -> str:
    """Mean and deviation over seeds, the interval over classes, and what `accurate` is better by, as Markdown."""
    names = list(dict.fromkeys(row["row"] for row in rows))
    figures = {name: _by_class([row for row in rows if row["row"] == name]) for name in names}
    lines = ["| | mAP@R, 95 % | accurate is better by, 95 % | " + " | ".join(name for name, _ in _COLUMNS)]
    lines[0] += " | wall s | cpu s | seeds |"
    lines.append("|---" * (len(_COLUMNS) + 6) + "|")
    for name in names:
        own = [row for row in rows if row["row"] == name]
        cells = [_between(interval(figures[name])), "–"]
        if "accurate" in figures and name != "accurate":
            gain, bounds = difference(*_paired(rows, name))
            cells[1] = f"{100 * gain:+.1f} ({_between(bounds)})"
        cells += [_spread([100 * row[key] for row in own if key in row]) for _, key in _COLUMNS]
        cells += [_spread([row[key] for row in own], 0) for key in ("wall_s", "cpu_s")]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {len(own)} |")
    return "\n".join(lines)


def _paired(rows: list[Row], name: str) -> tuple[ByClass, ByClass]:
    """`accurate` and another row over the seeds that both have; one that knows no seeds is compared with all."""
    first, second = ([row for row in rows if row["row"] == each] for each in ("accurate", name))
    common = {row["seed"] for row in first} & {row["seed"] for row in second}
    if ROWS[name][1] and common:
        first, second = ([row for row in each if row["seed"] in common] for each in (first, second))
    return _by_class(first), _by_class(second)


def _by_class(rows: list[Row]) -> ByClass:
    """The mean over seeds of each class."""
    sums = np.mean([row["by_class"]["sums"] for row in rows], axis=0)
    return ByClass(sums, np.array(rows[0]["by_class"]["counts"]))


def _between(bounds: tuple[float, float] | None) -> str:
    return "–" if bounds is None else f"{100 * bounds[0]:.1f} to {100 * bounds[1]:.1f}"


def _spread(values: list[float], digits: int = 1) -> str:
    if not values:
        return "–"
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def _sets(options: argparse.Namespace, scratch: Path) -> tuple[Dataset, Dataset]:
    if options.closed:
        data = datasets.load(_kinds(scratch / "kinds") if options.demo else options.data / "train")
        return _closed(data, options.closed)
    if options.fold is not None:
        data = datasets.load(options.data / "train")
        is_test = data.labels % FOLDS == options.fold
        return data.subset(np.flatnonzero(~is_test)), data.subset(np.flatnonzero(is_test))
    train_set, test_set = (datasets.load(options.data / part) for part in ("train", "test"))
    return train_set, test_set


def _closed(data: Dataset, count: int) -> tuple[Dataset, Dataset]:
    """Some of the classes, a third of each one's photos for testing."""
    chosen = np.linspace(0, len(data.classes) - 1, count).round().astype(int)
    return datasets.split_by_image(data.subset(np.flatnonzero(np.isin(data.labels, chosen))), 1 / 3)


def _few_of_each(data: Dataset, count: int) -> Dataset:
    """At most so many photos of each class, spread over what there is."""
    own = [np.flatnonzero(data.labels == label) for label in range(len(data.classes))]
    spread = [rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)] for rows in own]
    return data.subset(np.sort(np.concatenate(spread)))


def _kinds(folder: Path) -> Path:
    """Drawn products by kind: four different mugs are one class."""
    for path in demo_photos.make(folder / "all", views=8, size_px=160):
        kind = folder / "kinds" / path.parent.name.rpartition("-")[2]
        kind.mkdir(parents=True, exist_ok=True)
        path.rename(kind / path.name)
    return folder / "kinds"


def _drawn(folder: Path) -> Path:
    """Made-up products, half of the classes to train on and half to test on."""
    demo_photos.make(folder / "all", products=12, views=6, size_px=96)
    for position, product in enumerate(sorted((folder / "all").iterdir())):
        part = folder / ("train" if position % 2 else "test")
        part.mkdir(exist_ok=True)
        product.rename(part / product.name)
    return folder


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # for the loops of others
    main()
