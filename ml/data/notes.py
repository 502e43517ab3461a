"""What a person should know about labelled images before training on them: copies, leaks, odd labels, what is left out.

Loading and splitting are `ml.data.datasets`' work.
"""

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ml import files, images
from ml.data.datasets import Dataset, LeftOut
from ml.images import UnreadableImage
from ml.images.copies import Appearance, compare

_MOST_COMPARED = 1000  # at most a hundredth of a second each
_MOST_NAMED = 3


def notes_on(data: Dataset, test: Dataset | None) -> list[str]:
    """What a person should know about usable data before training on it, one line each."""
    lines = remarks(data)
    copies = same_files(test, data) if test else []
    if copies:
        lines.append(f"{len(copies)} test images are in the training data too, for example {copies[0][0].name}")
    return lines


def remarks(dataset: Dataset) -> list[str]:
    """What a person should know about a usable data set, one line each."""
    lines = []
    single = [name for name, count in zip(dataset.classes, dataset.counts, strict=True) if count == 1]
    if single:
        lines.append(_of_classes(single, "has a single image", "have a single image each", " and cannot be measured"))
    copies = len(dataset) - len(set(dataset.sha256))
    if copies:
        lines.append("1 file is a copy of another" if copies == 1 else f"{copies} files are copies of others")
    by_content: dict[str, set[int]] = {}
    for content, label in zip(dataset.sha256, dataset.labels, strict=True):
        by_content.setdefault(content, set()).add(int(label))
    ambiguous = sum(len(labels) > 1 for labels in by_content.values())
    if ambiguous:
        lie = "1 image lies" if ambiguous == 1 else f"{ambiguous} images lie"
        lines.append(f"{lie} in more than one class")
    contents: dict[int, set[str]] = {}
    for content, label in zip(dataset.sha256, dataset.labels, strict=True):
        contents.setdefault(int(label), set()).add(content)
    identical = [
        dataset.classes[label] for label in np.flatnonzero(dataset.counts > 1) if len(contents[int(label)]) == 1
    ]
    if identical:
        lines.append(_of_classes(identical, "holds one image many times", "hold one image many times"))
    lines += _told_alike(dataset.classes)
    by_reason: dict[str, list[LeftOut]] = {}
    for file in dataset.left_out:
        by_reason.setdefault(file.reason, []).append(file)
    for reason, left_out in sorted(by_reason.items(), key=lambda item: -len(item[1])):
        lines.append(f"{len(left_out)} left out, for example {left_out[0].place}: {reason}")
    return lines


def _of_classes(names: Sequence[str], one: str, many: str, ending: str = "") -> str:
    claim = f"1 class {one}" if len(names) == 1 else f"{len(names)} classes {many}"
    return f"{claim}{ending}, for example {names[0]!r}"


def _told_alike(classes: Sequence[str]) -> list[str]:
    pairs = _alike(classes)
    lines = [f"{first!r} and {second!r} are taken for two classes" for first, second in pairs[:_MOST_NAMED]]
    others = len(pairs) - len(lines)
    return lines + [f"so are {others} other pairs of names that differ by space or case"] * (others > 0)


def _alike(classes: Sequence[str]) -> list[tuple[str, str]]:
    """Names of classes that differ by space, case or Unicode's ways to write a letter alone."""
    seen: dict[str, str] = {}
    pairs = []
    for name in classes:
        plain = " ".join(unicodedata.normalize("NFKC", name).casefold().replace("_", " ").split())
        if plain in seen:
            pairs.append((seen[plain], name))
        seen.setdefault(plain, name)
    return pairs


def same_files(first: Dataset, second: Dataset) -> list[tuple[Path, Path]]:
    """Images of the first whose very bytes are in the second too."""
    by_content = dict(zip(second.sha256, second.paths, strict=True))
    return [(path, by_content[sha]) for path, sha in zip(first.paths, first.sha256, strict=True) if sha in by_content]


def near_duplicates(
    first: np.ndarray, first_paths: Sequence[Path], second: np.ndarray, second_paths: Sequence[Path]
) -> list[tuple[int, int]]:
    """Images of the first that are copies of ones of the second: see ml.images.copies. Files that are gone are none.

    Args:
        first: float32 [n, d], rows of unit length.
        first_paths: n files.
        second: float32 [m, d], of the same model.
        second_paths: m files.

    Returns:
        Positions (of the first, of its nearest in the second), among the thousand nearest.
    """
    similarity, nearest = np.empty(len(first)), np.empty(len(first), np.int64)
    for start in range(0, len(first), 1024):
        close = first[start : start + 1024] @ second.T
        nearest[start : start + 1024] = close.argmax(1)
        similarity[start : start + 1024] = close.max(1)

    def appearance(path: Path) -> Appearance | None:
        try:
            return Appearance(images.decode(files.read_regular(path), min_side=256))
        except (OSError, UnreadableImage):
            return None

    pairs = []
    for row in np.argsort(-similarity, kind="stable")[:_MOST_COMPARED]:
        one, other = appearance(first_paths[row]), appearance(second_paths[nearest[row]])
        if one is not None and other is not None and compare(one, other) is not None:
            pairs.append((int(row), int(nearest[row])))
    return sorted(pairs)
