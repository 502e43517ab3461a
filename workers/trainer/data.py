"""What `train`, `evaluate` and `sweep` are given as DATA: a folder, a CSV, or the labelled gallery.

The word `gallery` means the photos that were indexed with a label or got one since, and those that somebody said are
the same as another one; a folder of that name is written `./gallery`.
"""

import itertools
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ml import files
from ml.data import datasets
from ml.data.datasets import BadDataset, Dataset, Progress
from ml.data.same_pairs import Classes, classes_of
from workers.answers import Answers
from workers.messages import GalleryImage
from workers.settings import Settings, expanded

if TYPE_CHECKING:
    from workers.gallery import Gallery

log = logging.getLogger(__name__)

GALLERY = "gallery"
_TABLES = (".csv", ".tsv")


def read(source: str, settings: Settings, *, split: str | None = None, on_progress: Progress | None = None) -> Dataset:
    """Loads DATA.

    Args:
        source: a folder with one folder per class, a CSV, or the word gallery.
        settings: where the gallery is.
        split: rows of a CSV to take.
        on_progress: called with how many files are read.

    Raises:
        BadDataset: it is none of these, or holds no labelled images.
    """
    _follow_limits(settings)
    if source == GALLERY:
        return _gallery(settings, on_progress)
    if split is None and source.lower().endswith(_TABLES):
        split = "train" if datasets.has_splits(expanded(source)) else None
    return datasets.load(expanded(source).absolute(), split=split, on_progress=on_progress)


def read_test(
    source: str | None, data: str, settings: Settings, *, on_progress: Progress | None = None
) -> Dataset | None:
    """The test images: those named, or the rows of a CSV that say test."""
    _follow_limits(settings)
    if source is not None:
        return read(source, settings, split=_test_split(source), on_progress=on_progress)
    split = _test_split(data)
    return None if split is None else datasets.load(expanded(data).absolute(), split=split, on_progress=on_progress)


def unlabelled(settings: Settings, most: int, *, on_progress: Progress | None = None) -> Dataset | None:
    """Photos of the gallery, whatever their labels, all in one class; None of an empty one.

    Args:
        settings: where the gallery is.
        most: that are taken. Ids are hashes, so that the first are a fair draw.
        on_progress: called with how many files are read.

    Raises:
        BadDataset: none of them is a readable image.
    """
    from workers.gallery import Gallery

    gallery = Gallery.open(settings)
    pairs = [(_original(gallery, settings, id), "") for id in itertools.islice(gallery.ids(), most)]
    return datasets.from_pairs(pairs, name=GALLERY, on_progress=on_progress) if pairs else None


def _follow_limits(settings: Settings) -> None:
    """What indexing refuses, training refuses: `ml` and its processes read limits from the environment."""
    names = ("LOOKALIKE_MAX_MEGAPIXELS", "LOOKALIKE_MAX_UPLOAD_MB")
    os.environ.update({name: value for name, value in settings.environment().items() if name in names})


def _test_split(source: str) -> str | None:
    is_table = source.lower().endswith(_TABLES)
    return "test" if is_table and "test" in datasets.splits(expanded(source)) else None


def _gallery(settings: Settings, on_progress: Progress | None) -> Dataset:
    from ml.storage import open_storage
    from workers.gallery import Gallery

    gallery = Gallery.open(settings)
    images = gallery.find_many(gallery.ids())
    classes = _classes(images, Answers(open_storage(settings.storage_url)))
    pairs = [(_original(gallery, settings, id), label) for id, label in classes.labels.items()]
    if not pairs:
        raise BadDataset(
            "no photo of the gallery has a label", hint="index folders named after labels, or use lookalike label"
        )
    return datasets.from_pairs(pairs, name=GALLERY, on_progress=on_progress)


def _original(gallery: "Gallery", settings: Settings, id: str) -> Path:
    """A file with the content of an original: the gallery's own where that is a folder, else a copy under the home."""
    from ml.storage import open_storage

    path = open_storage(settings.storage_url).local_path(f"originals/{id[:2]}/{id}")
    if path is None or not path.exists():
        path = settings.home / "cache" / "originals" / id[:2] / id
        if not path.exists():  # its name is the hash of its content: it never changes
            files.write(path, gallery.original(id))
    return path


def _classes(images: Mapping[str, GalleryImage], answers: Answers) -> Classes:
    """Of the gallery's images, by their labels and by what people said of pairs of them."""
    labels = {id: image.label for id, image in images.items() if image.label}
    said = [(each.one, each.other, bool(each.is_same)) for each in answers.all()]
    classes = classes_of(labels, [each for each in said if each[0] in images and each[1] in images])
    if said:
        log.info(
            "%d answers: %d images have a class by them alone; %d contradict labels or earlier answers",
            *(len(said), classes.joined, classes.contradictions),
        )
    return classes
