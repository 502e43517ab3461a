"""Labelled images: a folder per class, a CSV, or pairs of path and label such as the labelled gallery gives.

Loading reads every file once: its header (what is no image is left out and listed, never fatal by itself) and its
SHA-256 (data fingerprint, duplicates). Splits are by class, for open-set retrieval, or by image. What is odd about the
data is said by `ml.data.notes`; decoding is `ml.data.decoding`'s work, batches are `ml.data.sampling`'s.
"""

import hashlib
import mimetypes
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ml import files, images
from ml.data import tables
from ml.data.photo_files import photo_files
from ml.errors import BadDataset as BadDataset  # it is raised here
from ml.images import UnreadableImage

Progress = Callable[[str, int, int], None]  # (what is being done, done, total)

_STRAY = "lies in no class's folder"
_SPLIT_FOLDERS = {"train", "test", "val", "valid", "validation", "query", "gallery"}


@dataclass(frozen=True)
class LeftOut:
    """A file that is not part of the data set, and why; `line` of the table that names it, 0 where none does."""

    path: Path
    reason: str
    line: int = 0

    @property
    def place(self) -> str:
        """Where to look: the file's name, and the line of a table."""
        return self.path.name + (f" (line {self.line})" if self.line else "")


@dataclass(frozen=True)
class Dataset:
    """Readable images and their classes.

    Args:
        name: of the folder or file that it came from.
        paths: of the images.
        labels: int64 [n], positions in `classes`.
        classes: names, in order.
        sha256: of each file's content.
        left_out: files that are no readable images or have no label.
        held: bool [n], images that the data's owner holds out of training, to watch it and for the threshold: the
            rows of a table that say val. None where nothing says so.
    """

    name: str
    paths: tuple[Path, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    sha256: tuple[str, ...]
    left_out: tuple[LeftOut, ...] = ()
    held: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def counts(self) -> np.ndarray:
        """Images of each class, int64 [classes]."""
        return np.bincount(self.labels, minlength=len(self.classes))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what is in it: contents and labels, whatever the order and the file names."""
        rows = sorted(
            f"{content} {self.classes[label]}{' val' if self.held is not None and self.held[row] else ''}"
            for row, (content, label) in enumerate(zip(self.sha256, self.labels, strict=True))
        )
        return hashlib.sha256("\n".join(rows).encode("utf-8", "surrogateescape")).hexdigest()

    def subset(self, positions: Sequence[int] | np.ndarray) -> "Dataset":
        """Some of the images; classes that have none left are dropped and the others numbered anew."""
        chosen = [int(position) for position in positions]
        labels = self.labels[chosen]
        present = np.unique(labels)
        return replace(
            self,
            paths=tuple(self.paths[i] for i in chosen),
            labels=np.searchsorted(present, labels),
            classes=tuple(self.classes[i] for i in present),
            sha256=tuple(self.sha256[i] for i in chosen),
            held=None if self.held is None else self.held[chosen],
        )


def load(source: Path | str, *, split: str | None = None, on_progress: Progress | None = None) -> Dataset:
    """A folder with one folder per class, or a CSV with the columns path, label and perhaps split.

    Args:
        source: folder or CSV. In a folder, an image's class is the first folder on its way. In a CSV, paths are
            relative to the file; `ml.data.tables` finds its columns.
        split: of a CSV, only the rows with this split. With train, the rows of val come along, as those that the
            table itself holds out of training. None takes all rows, whatever their split.
        on_progress: told how many files are read.

    Raises:
        BadDataset: there is no such folder or file, or it holds no readable images, or none in a class's folder.
        BadTable: the CSV lacks a column.
    """
    source = Path(source)
    held: list[bool] | None = None
    if source.is_dir():
        pairs, left_out = _folder(source)
    elif source.is_file():
        pairs, left_out, held = _csv(source, split)
    else:
        raise BadDataset(f"there is no {source}", hint="name a folder with one folder per class, or a CSV")
    if not pairs and not left_out:
        raise BadDataset(f"{source} is empty", hint="put the images of each class into a folder of their own")
    if not pairs and (stray := next((each for each in left_out if _is_stray_photo(each)), None)):
        raise BadDataset(
            f"the photos of {source} lie in no class's folder, for example {stray.path.name}",
            hint=f"name the folder above, if this is one class of it: {source.resolve().parent}"
            if _is_class(source.resolve())
            else f"one folder per class, named after it: {source / 'mug' / 'front.jpg'}, {source / 'bowl' / '1.jpg'}",
        )
    return from_pairs(pairs, name=source.resolve().stem, left_out=left_out, held=held, on_progress=on_progress)


def from_pairs(
    pairs: Iterable[tuple[Path, str]],
    *,
    name: str,
    left_out: Iterable[LeftOut] = (),
    held: Sequence[bool] | None = None,
    on_progress: Progress | None = None,
) -> Dataset:
    """Paths and labels, for example those of the labelled gallery.

    Args:
        pairs: path and label of each image.
        name: of the data set.
        left_out: what is known not to belong to it.
        held: for each pair, whether the data's owner holds it out of training.
        on_progress: told how many files are read.

    Raises:
        BadDataset: none of them is a readable image.
    """
    pairs, dropped = list(pairs), list(left_out)
    readable: list[tuple[Path, str, str, bool]] = []
    with ThreadPoolExecutor(8) as threads:
        held_pairs = held if held is not None else [False] * len(pairs)
        for done, ((path, label), is_held, read) in enumerate(
            zip(pairs, held_pairs, threads.map(_read, (path for path, _ in pairs)), strict=True), 1
        ):
            if isinstance(read, LeftOut):
                dropped.append(read)
            else:
                readable.append((path, label, read, is_held))
            if on_progress:
                on_progress("reading files", done, len(pairs))
    if not readable:
        example = f", for example {dropped[0].path.name} {dropped[0].reason}" if dropped else ""
        raise BadDataset(f"{name} holds no image that can be read{example}", hint="name a folder of labelled photos")
    classes = tuple(sorted({label for _, label, *_ in readable}))
    number = {label: position for position, label in enumerate(classes)}
    return Dataset(
        name=name,
        paths=tuple(path for path, *_ in readable),
        labels=np.array([number[label] for _, label, *_ in readable], np.int64),
        classes=classes,
        sha256=tuple(sha256 for _, _, sha256, _ in readable),
        left_out=tuple(dropped),
        held=None if held is None else np.array([is_held for *_, is_held in readable], bool),
    )


def splits(file: Path) -> set[str]:
    """The splits that rows of a table have (train, val, test); none where it has no such column or is no table."""
    try:
        return tables.read(file).splits
    except tables.BadTable:
        return set()


def has_splits(file: Path) -> bool:
    """Whether a table has a column of splits."""
    try:
        return tables.read(file).has_split
    except tables.BadTable:
        return False


def check_trainable(dataset: Dataset) -> None:
    """Whether neighbours can be learned from it.

    Raises:
        BadDataset: there is one class only, no class has two images, or all the images are the same.
    """
    if len(dataset.classes) < 2:
        raise BadDataset(
            f"{dataset.name} has one class, {dataset.classes[0]!r}",
            hint="training needs at least two classes, each in a folder of its own",
        )
    if dataset.counts.max() < 2:
        raise BadDataset(f"no class of {dataset.name} has two images", hint="add more images of each class")
    if len(set(dataset.sha256)) < 2:
        raise BadDataset(f"all images of {dataset.name} are the same", hint="check how the folders were filled")


def held_out(dataset: Dataset, share: float, *, seed: int = 0) -> np.ndarray:
    """Open set: which images belong to classes that are held out, bool [n].

    Args:
        dataset: to split.
        share: of the classes to hold out, at least two of those with two images.
        seed: of the choice. Seeds that follow each other hold out different classes, as the folds of a
            cross-validation do, until every class has had its turn.

    Returns:
        All False where holding out would leave fewer than two classes on either side.
    """
    eligible = np.flatnonzero(dataset.counts > 1)
    count = max(2, round(share * len(dataset.classes)))
    if share <= 0 or len(eligible) < count or len(dataset.classes) - count < 2:
        return np.zeros(len(dataset), bool)
    turn, fold = divmod(seed, len(eligible) // count)
    order = np.random.default_rng(abs(turn)).permutation(eligible)
    return np.isin(dataset.labels, order[fold * count : (fold + 1) * count])


def split_by_class(dataset: Dataset, share: float, *, seed: int = 0) -> tuple[Dataset, Dataset | None]:
    """The rest, and the classes that `held_out` chooses; None where it chooses none."""
    is_held = held_out(dataset, share, seed=seed)
    if not is_held.any():
        return dataset, None
    return dataset.subset(np.flatnonzero(~is_held)), dataset.subset(np.flatnonzero(is_held))


def split_by_image(dataset: Dataset, share: float, *, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Closed set: of each class a share of its images, none of a class that has one, is held out.

    Raises:
        BadDataset: nothing would be held out.
    """
    random = np.random.default_rng(seed)
    is_held = np.zeros(len(dataset), bool)
    for label in range(len(dataset.classes)):
        own = np.flatnonzero(dataset.labels == label)
        count = min(len(own) - 1, max(1, round(share * len(own)))) if share > 0 else 0
        is_held[random.permutation(own)[:count]] = True
    if not is_held.any():
        raise BadDataset(f"{dataset.name} has no class with two images to split", hint="split by class instead")
    return dataset.subset(np.flatnonzero(~is_held)), dataset.subset(np.flatnonzero(is_held))


def _folder(root: Path) -> tuple[list[tuple[Path, str]], list[LeftOut]]:
    pairs: list[tuple[Path, str]] = []
    left_out: list[LeftOut] = []
    folders = {entry.name.lower() for entry in root.iterdir() if entry.is_dir()}
    if "train" in folders and folders <= _SPLIT_FOLDERS:
        raise BadDataset(
            f"{root} holds splits ({', '.join(sorted(folders))}), not classes",
            hint=f"name one of them: {root / 'train'}, with --test {root / 'test'}",
        )

    def skip(path: Path, reason: str) -> None:
        if reason != "hidden":
            left_out.append(LeftOut(path, f"is left out: {reason}"))

    for found in photo_files(root, skip):
        path, relative = found.path, found.path.relative_to(root)
        if found.error:
            left_out.append(LeftOut(path, found.error))
        elif not path.is_file():
            continue
        elif len(relative.parts) == 1:
            left_out.append(LeftOut(path, _STRAY))
        else:
            pairs.append((path, relative.parts[0]))
    return pairs, left_out


def _is_stray_photo(left_out: LeftOut) -> bool:
    return left_out.reason == _STRAY and isinstance(_read(left_out.path), str)


def _is_class(folder: Path) -> bool:
    """Whether a folder lies beside another one that holds photos itself, as that of one class does."""
    if folder.name.lower() in _SPLIT_FOLDERS:
        return False
    try:
        beside = [each for each in folder.parent.iterdir() if each != folder and each.is_dir()]
        return any((mimetypes.guess_type(file)[0] or "").startswith("image/") for b in beside for file in b.iterdir())
    except OSError:  # what cannot be read is no hint
        return False


def _csv(file: Path, split: str | None) -> tuple[list[tuple[Path, str]], list[LeftOut], list[bool] | None]:
    """Paths and labels of a table, rows that are left out, and which rows the table itself holds out."""
    table = tables.read(file)
    left_out = [LeftOut(row.path, row.unusable, row.line) for row in table.unusable]
    held: list[bool] | None = None
    if split == "train":
        # Without rows for training, those that say nothing are.
        has_train = "train" in table.splits
        rows = table.rows_of("train" if has_train else "", "val")
        held = [row.split == "val" for row in rows] if "val" in table.splits else None
        if has_train:
            left_out += [LeftOut(row.path, "has no split", row.line) for row in table.rows_of("")]
    elif split is not None:
        rows = table.rows_of(split)
    else:
        rows = table.rows_of("train", "val", "test", "")
    if split and not rows and not left_out:
        raise BadDataset(f"{file} has no row with the split {split!r}")
    return [(row.path, row.label) for row in rows], left_out, held


def _read(path: Path) -> str | LeftOut:
    """The SHA-256 of an image's file."""
    try:
        data = files.read_regular(path)  # reading a pipe would wait for ever
        images.probe(data)
    except OSError as error:
        return LeftOut(path, f"cannot be read: {error.strerror}")
    except UnreadableImage as error:
        return LeftOut(path, error.message)
    return hashlib.sha256(data).hexdigest()
