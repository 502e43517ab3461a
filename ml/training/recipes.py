"""The benchmarks of the paper: their data sets as published, their protocol, and settings to train them with.

    CUB-200-2011               classes 1 to 100 train, 101 to 200 are tested
    Cars-196                   classes 1 to 98 train, 99 to 196 are tested
    Stanford Online Products   the lists Ebay_train.txt and Ebay_test.txt
    In-Shop Clothes            list_eval_partition.txt: train; queries are looked up in a gallery

The data sets are not ours to ship; docs/benchmarks.md says where they are and which rows have been reproduced. Run one
with `lookalike train DIR --recipe cub200`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ml.data import datasets, decoding
from ml.data.augment import Augmentation
from ml.data.datasets import BadDataset, Dataset, Progress
from ml.errors import LookalikeError
from ml.evaluation import evaluate
from ml.evaluation.metrics import Retrieval, binary_codes, evaluate_retrieval
from ml.model import embedder
from ml.training.config import TrainConfig

Pairs = list[tuple[Path, str]]


@dataclass(frozen=True)
class Splits:
    """A data set by its protocol. Without a gallery every test image is a query against all the others."""

    train: Dataset
    test: Dataset
    gallery: Dataset | None = None


@dataclass(frozen=True)
class Recipe:
    """A benchmark.

    Args:
        title: of the data set.
        read: its published folder to splits.
        config: settings, as the paper's where they have a counterpart here.
        ks: neighbours that papers report recall for.
        published: recall@1 in per cent of the paper's 2048-d vectors and of their binary codes.
    """

    title: str
    read: Callable[[Path], Splits]
    config: TrainConfig
    ks: tuple[int, ...]
    published: Mapping[str, float]


def named(name: str) -> Recipe:
    """The recipe of that name. Raises LookalikeError when there is none."""
    if name not in RECIPES:
        raise LookalikeError(f"recipe must be one of {', '.join(RECIPES)}, got {name!r}")
    return RECIPES[name]


def read_cub(root: Path) -> Splits:
    """CUB-200-2011 as its archive unpacks: images.txt, image_class_labels.txt, images/.

    Raises:
        BadDataset: a file is missing or malformed.
    """
    root = _root(root, "images.txt", "CUB_200_2011")
    paths = {row[0]: row[1] for row in _rows(root / "images.txt", 2)}
    labels = {row[0]: row[1] for row in _rows(root / "image_class_labels.txt", 2)}
    pairs: tuple[Pairs, Pairs] = ([], [])
    for number, path in paths.items():
        label = int(labels.get(number, 0))
        pairs[label > 100].append((root / "images" / path, f"{label:03d}"))
    return _by_class(pairs, "CUB-200-2011")


def read_cars(root: Path) -> Splits:
    """Cars-196 with the joint list: cars_annos.mat and car_ims/.

    Raises:
        BadDataset: a file is missing or malformed.
    """
    from scipy.io import loadmat

    root = _root(root, "cars_annos.mat", "cars196")
    pairs: tuple[Pairs, Pairs] = ([], [])
    try:
        for entry in loadmat(root / "cars_annos.mat", squeeze_me=True)["annotations"]:
            label = int(entry["class"])
            pairs[label > 98].append((root / str(entry["relative_im_path"]), f"{label:03d}"))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise BadDataset(f"{root / 'cars_annos.mat'} is not the list of Cars-196: {error}") from error
    return _by_class(pairs, "Cars-196")


def read_sop(root: Path) -> Splits:
    """Stanford Online Products as its archive unpacks: Ebay_train.txt, Ebay_test.txt and folders of images.

    Raises:
        BadDataset: a file is missing or malformed.
    """
    root = _root(root, "Ebay_train.txt", "Stanford_Online_Products")
    pairs: tuple[Pairs, Pairs] = ([], [])
    for part, name in enumerate(("Ebay_train.txt", "Ebay_test.txt")):
        for _, label, _, path in list(_rows(root / name, 4))[1:]:
            pairs[part].append((root / path, label))
    return _by_class(pairs, "Stanford-Online-Products")


def read_inshop(root: Path) -> Splits:
    """In-Shop Clothes Retrieval: list_eval_partition.txt, in the folder or its Eval/ or Anno/, and img/ or Img/img/.

    Raises:
        BadDataset: a file is missing or malformed.
    """
    lists = [root / folder / "list_eval_partition.txt" for folder in (".", "Eval", "Anno")]
    partition = next((file for file in lists if file.is_file()), None)
    if partition is None:
        raise BadDataset(f"{root} holds no list_eval_partition.txt", hint="unpack In-Shop Clothes Retrieval there")
    images = root / "Img" if (root / "Img").is_dir() else root
    parts: dict[str, Pairs] = {"train": [], "query": [], "gallery": []}
    for path, item, part in list(_rows(partition, 3, skip=2)):
        if part not in parts:
            raise BadDataset(f"{partition} has the unknown status {part!r}")
        parts[part].append((images / path, item))
    train, query, gallery = (datasets.from_pairs(parts[part], name=f"In-Shop-{part}") for part in parts)
    return Splits(train, query, gallery)


def measure(
    bundle_dir: Path,
    splits: Splits,
    *,
    ks: Iterable[int],
    device: str = "auto",
    on_progress: Progress | None = None,
) -> dict[str, float]:
    """Recall and mAP@R by the protocol, as floats and as binary codes.

    Raises:
        BadDataset: no query has an answer.
    """
    loaded = embedder.load(bundle_dir, device=device)
    vectors, names = _embedded(loaded, splits.test, on_progress)
    gallery, gallery_names = vectors, names
    if splits.gallery is not None:
        gallery, gallery_names = _embedded(loaded, splits.gallery, on_progress)
    number = {name: position for position, name in enumerate(sorted({*names, *gallery_names}))}
    labels, gallery_labels = (torch.tensor([number[name] for name in own]) for own in (names, gallery_names))
    figures: dict[str, float] = {}
    for before, code in (("", lambda x: x), ("binary_", binary_codes)):
        retrieval = _retrieval(code(vectors), labels, code(gallery), gallery_labels, splits.gallery is None, tuple(ks))
        figures |= {f"{before}recall@{k}": value for k, value in retrieval.recall.items()}
        figures[f"{before}map@r"] = retrieval.map_at_r
    return figures


def _retrieval(
    vectors: torch.Tensor,
    labels: torch.Tensor,
    gallery: torch.Tensor,
    gallery_labels: torch.Tensor,
    is_self: bool,
    ks: tuple[int, ...],
) -> Retrieval:
    try:
        if is_self:
            return evaluate_retrieval(vectors, labels, ks=ks)
        return evaluate_retrieval(vectors, labels, gallery, gallery_labels, ks=ks)
    except ValueError as error:
        raise BadDataset(f"nothing can be measured: {error}") from error


def _embedded(loaded: embedder.Embedder, data: Dataset, on_progress: Progress | None) -> tuple[torch.Tensor, list[str]]:
    decoded = decoding.decode(data, loaded.preprocessing, on_progress=on_progress)
    names = [decoded.dataset.classes[label] for label in decoded.dataset.labels]
    return evaluate.embed(loaded, decoded.array, on_progress), names


def _by_class(pairs: tuple[Pairs, Pairs], name: str) -> Splits:
    return Splits(
        datasets.from_pairs(pairs[0], name=f"{name}-train"), datasets.from_pairs(pairs[1], name=f"{name}-test")
    )


def _root(root: Path, file: str, folder: str) -> Path:
    """The folder itself, or the one inside that the archive makes."""
    for candidate in (root, root / folder):
        if (candidate / file).is_file():
            return candidate
    raise BadDataset(f"{root} holds no {file}", hint=f"name the folder {folder} as its archive unpacks")


def _rows(file: Path, columns: int, *, skip: int = 0) -> Iterable[tuple[str, ...]]:
    try:
        lines = file.read_text("utf-8").splitlines()[skip:]
    except (OSError, UnicodeDecodeError) as error:
        raise BadDataset(f"{file} cannot be read: {error}") from error
    for number, line in enumerate(lines, 1 + skip):
        cells = tuple(line.split())
        if cells and len(cells) != columns:
            raise BadDataset(f"{file}, line {number}: {len(cells)} columns instead of {columns}")
        if cells:
            yield cells


def _config(images_per_class: int, **changes: Any) -> TrainConfig:
    """The paper's settings: ResNet-50 at 224 px, 2048-d, batches of 75, random crops and flips, no extra head.

    The paper trains with SGD; our loop is AdamW with one cycle, so its learning rate is ours to choose.
    """
    settings: dict[str, Any] = {
        "backbone": "resnet50.tv_in1k",
        "head": "none",
        "dim": 2048,
        "epochs": 30,
        "train_px": 224,
        "test_px": 224,
        "margin": 0.125,
        "mirror": False,
        "classes_per_batch": 75 // images_per_class,
        "images_per_class": images_per_class,
        "augmentation": Augmentation(scale=0.5, ratio=1.15, rotation=0, jitter=0, hue=0, erasing=0),
        "holdout": 0.0,
    }
    return TrainConfig(**(settings | changes))


RECIPES = {
    "cub200": Recipe(
        "CUB-200-2011", read_cub, _config(25, lr=5e-5), (1, 2, 4, 8), {"recall@1": 65.36, "binary_recall@1": 63.67}
    ),
    "cars196": Recipe(
        "Cars-196", read_cars, _config(25, lr=2e-4), (1, 2, 4, 8), {"recall@1": 89.50, "binary_recall@1": 89.29}
    ),
    "sop": Recipe(
        "Stanford Online Products",
        read_sop,
        _config(5, lr=2e-4),
        (1, 10, 100, 1000),
        {"recall@1": 79.55, "binary_recall@1": 78.03},
    ),
    "inshop": Recipe(
        "In-Shop Clothes Retrieval",
        read_inshop,
        _config(5, lr=2e-4),
        (1, 10, 20, 30, 40),
        {"recall@1": 89.35, "binary_recall@1": 88.76},
    ),
}
