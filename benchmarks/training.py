"""How good training makes neighbours, ours beside its peers, on photos of classes that no run has seen.

    python benchmarks/training.py [--data DIR] [--closed N] [--seeds 3] [--only ROW ...] [--quick] [--json]

Every row starts from the same ImageNet weights, and is measured on `test` by the same code (ml.evaluation.evaluate).
Nothing is chosen by the test set: settings were chosen by classes held out of `train` (benchmarks/LOG.md).

    untrained 128   the pretrained network at 128 px, no head
    untrained       the same as the default model ships it, 224 px
    fast            `lookalike train --preset fast`
    accurate        `lookalike train`
    softmax         plain softmax, as the original's notebook 01: the accurate preset's loop, epochs and augmentation
    softmax + head  the same with our closed-form head
    pml             pytorch-metric-learning's NormalizedSoftmaxLoss in the loop of its examples: same backbone, batch
                    and image size, its MPerClassSampler, torchvision's augmentation, as long as `accurate` took
    naive           six epochs of cross-entropy over a linear layer, as a tutorial has it: Adam, batches of 32, 224 px

With `--closed N` a closed set of few classes instead: N of the classes of `train`, a third of each one's photos for
testing.

mAP@R in per cent, mean and standard deviation over seeds; `rerank`, `binary` and `128-d` are mAP@R after re-ranking, of
binary codes, and of the vector's first 128 dimensions. `cpu s` is processor time over all cores: on a machine that does
other things too it says more than `wall s`.
"""

import argparse
import json
import statistics
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
from ml.data.datasets import Dataset
from ml.evaluation.evaluate import evaluate
from ml.model.network import EmbeddingModel, pretrained
from ml.model.save import save_bundle
from ml.training import lineage
from ml.training.config import TrainConfig, preset_config
from ml.training.train import train

GROCERY = Path(__file__).parents[2] / "shared" / "data" / "grocery"
QUICK: dict[str, Any] = {"train_px": 64, "test_px": 64, "dim": 160}
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=GROCERY, help="folder with train/ and test/, one folder per class")
    parser.add_argument("--closed", type=int, metavar="N", help="N classes, the same in training and test")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=list(ROWS), choices=list(ROWS), metavar="ROW")
    parser.add_argument("--quick", action="store_true", help="drawn photos, two epochs, one seed: does it run at all")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if options.quick:
            options.data, options.seeds = _drawn(Path(scratch) / "photos"), 1
        if options.closed:
            train_set, test_set = _closed(datasets.load(options.data / "train"), options.closed)
        else:
            train_set, test_set = (datasets.load(options.data / part) for part in ("train", "test"))
        rows = []
        for row in measure(options, train_set, test_set, Path(scratch)):
            rows.append(row)
            if not options.json:
                print(
                    f"{row['row']} seed {row['seed']}: mAP@R {100 * row['map@r']:.1f} in {row['wall_s']:.0f} s",
                    flush=True,
                )
    facts = {"commit": lineage.commit(), "machine": lineage.device_name(), "threads": torch.get_num_threads()}
    print(json.dumps(facts | {"rows": rows}, indent=2) if options.json else f"\n{table(rows)}\n\n{facts}")


def measure(options: argparse.Namespace, train_set: Dataset, test_set: Dataset, scratch: Path) -> Iterator[Row]:
    """One row per contestant and seed."""
    changes = QUICK if options.quick else {}
    budget_s: dict[int, float] = {}
    for name in options.only:
        make, is_random = ROWS[name]
        for seed in range(options.seeds if is_random else 1):
            folder = scratch / f"{name}-{seed}".replace(" ", "-")
            began, processor = time.perf_counter(), time.process_time()
            made = make(train_set, folder, {"seed": seed} | changes, options.quick, budget_s.get(seed))
            wall_s = time.perf_counter() - began
            found = evaluate(made, test_set, rerank=True, binary=True).metrics
            if name == "accurate":
                budget_s[seed] = wall_s
            yield {"row": name, "seed": seed, "wall_s": wall_s, "cpu_s": time.process_time() - processor} | found


def _trained(preset: str, **fixed: Any) -> Callable[..., Path]:
    def make(data: Dataset, folder: Path, changes: dict[str, Any], quick: bool, _: float | None) -> Path:
        epochs = {"epochs": 2} if quick and preset != "fast" else {}
        result = train(preset_config(preset, **(changes | fixed | epochs)), data, folder)
        assert result is not None
        return result.bundle.directory

    return make


def _untrained(size_px: int | None) -> Callable[..., Path]:
    def make(_: Dataset, folder: Path, changes: dict[str, Any], quick: bool, __: float | None) -> Path:
        model, preprocessing = pretrained()
        if size_px:
            model.preprocessing = replace(preprocessing, size_px=size_px, resize_px=size_px, fit="squash")
        return save_bundle(model, folder, name=folder.name).directory

    return make


def _pytorch_metric_learning(
    data: Dataset, folder: Path, changes: dict[str, Any], quick: bool, budget_s: float | None
) -> Path:
    """The loop of pytorch-metric-learning's examples, as long as ours took."""
    from PIL import Image
    from pytorch_metric_learning import losses, samplers
    from torch.utils.data import DataLoader
    from torchvision import transforms

    config = TrainConfig(**changes)
    torch.manual_seed(config.seed)
    model, preprocessing = pretrained(layer_norm=True)
    preprocessing = replace(preprocessing, size_px=config.test_px, resize_px=config.test_px, fit="squash")
    vary = transforms.Compose(
        [
            transforms.RandomResizedCrop(config.train_px, scale=(0.3, 1)),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(preprocessing.mean, preprocessing.std),
        ]
    )

    class Images(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(data)

        def __getitem__(self, position: int) -> tuple[torch.Tensor, int]:
            with Image.open(data.paths[position]) as image:
                return vary(image.convert("RGB")), int(data.labels[position])

    batch = config.classes_per_batch * config.images_per_class
    sampler = samplers.MPerClassSampler(data.labels, m=config.images_per_class, length_before_new_iter=len(data))
    loader = DataLoader(Images(), batch_size=batch, sampler=sampler, drop_last=True)
    loss_func = losses.NormalizedSoftmaxLoss(len(data.classes), model.feature_dim, temperature=config.temperature)
    optimizer = torch.optim.Adam(model.backbone.parameters(), lr=1e-4)
    loss_optimizer = torch.optim.Adam(loss_func.parameters(), lr=1e-2)
    model.backbone.train()
    for module in model.backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()  # as ours: 8 classes a batch ruin the statistics
    until = time.perf_counter() + (20 if quick else budget_s or 300)
    while time.perf_counter() < until:
        for x, labels in loader:
            optimizer.zero_grad()
            loss_optimizer.zero_grad()
            loss_func(_features(model, x), labels).backward()
            optimizer.step()
            loss_optimizer.step()
            if time.perf_counter() > until:
                break
    model.preprocessing = preprocessing
    return save_bundle(model.eval(), folder, name="pml").directory


def _naive(data: Dataset, folder: Path, changes: dict[str, Any], quick: bool, _: float | None) -> Path:
    """Cross-entropy over a linear layer: no head, no class-balanced batches, no frozen statistics."""
    from PIL import Image
    from torchvision import transforms

    config = TrainConfig(**changes)
    torch.manual_seed(config.seed)
    model, preprocessing = pretrained()
    side = changes.get("train_px", preprocessing.size_px)
    steps = [transforms.RandomResizedCrop(side, scale=(0.3, 1)), transforms.RandomHorizontalFlip()]
    vary = transforms.Compose(
        [*steps, transforms.ToTensor(), transforms.Normalize(preprocessing.mean, preprocessing.std)]
    )
    network = torch.nn.Sequential(model.backbone, torch.nn.Linear(model.feature_dim, len(data.classes))).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    images = [Image.open(path).convert("RGB") for path in data.paths]
    for _epoch in range(1 if quick else 6):
        for batch in torch.randperm(len(data)).split(32):
            logits = network(torch.stack([vary(images[position]) for position in batch]))
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(logits, torch.from_numpy(data.labels)[batch]).backward()
            optimizer.step()
    return save_bundle(model.eval(), folder, name="naive").directory


def _features(model: EmbeddingModel, x: torch.Tensor) -> torch.Tensor:
    features = model.backbone(x)
    return torch.nn.functional.layer_norm(features, features.shape[1:])


# name -> (how to make the model, whether seeds matter)
ROWS: dict[str, tuple[Callable[..., Path], bool]] = {
    "untrained 128": (_untrained(128), False),
    "untrained": (_untrained(None), False),
    "fast": (_trained("fast"), False),
    "accurate": (_trained("accurate"), True),
    "softmax": (_trained("accurate", loss="softmax", images_per_class=0, head="none"), True),
    "softmax + head": (_trained("accurate", loss="softmax", images_per_class=0), True),
    "pml": (_pytorch_metric_learning, True),
    "naive": (_naive, True),
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
    """Mean and deviation over seeds, as Markdown."""
    names = list(dict.fromkeys(row["row"] for row in rows))
    lines = ["| | " + " | ".join(name for name, _ in _COLUMNS) + " | wall s | cpu s | seeds |"]
    lines.append("|---" * (len(_COLUMNS) + 4) + "|")
    for name in names:
        own = [row for row in rows if row["row"] == name]
        cells = [_spread([100 * row[key] for row in own if key in row]) for _, key in _COLUMNS]
        cells += [_spread([row[key] for row in own], 0) for key in ("wall_s", "cpu_s")]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {len(own)} |")
    return "\n".join(lines)


def _spread(values: list[float], digits: int = 1) -> str:
    if not values:
        return "–"
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def _closed(data: Dataset, count: int) -> tuple[Dataset, Dataset]:
    """Some of the classes, a third of each one's photos for testing."""
    chosen = np.linspace(0, len(data.classes) - 1, count).round().astype(int)
    return datasets.split_by_image(data.subset(np.flatnonzero(np.isin(data.labels, chosen))), 1 / 3)


def _drawn(folder: Path) -> Path:
    """Made-up products, half of the classes to train on and half to test on."""
    demo_photos.make(folder / "all", products=12, views=6, size_px=96)
    for position, product in enumerate(sorted((folder / "all").iterdir())):
        part = folder / ("train" if position % 2 else "test")
        part.mkdir(exist_ok=True)
        product.rename(part / product.name)
    return folder


if __name__ == "__main__":
    main()
