"""A small set of photos to try things on: real ones where there are any, else drawn ones.

The notebooks use it. Real ones are those of the folder that PHOTOS names, as for `make demo`; else, where it lies
beside this checkout, the Grocery Store Dataset (Klasson, Zhang and Kjellström, WACV 2019; MIT licence).
"""

import os
import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np

from deploy import demo_photos
from ml.errors import LookalikeError

GROCERY = Path(__file__).parents[3] / "shared" / "data" / "grocery"
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
_FEWEST_CLASSES = 4  # to train on two of them and to measure on two


def real_or_drawn(directory: Path, *, classes: int, views: int, size_px: int) -> list[Path]:
    """Puts `views` photos of each of `classes` classes into `directory`, one folder per class.

    Args:
        directory: created when missing.
        classes: at most so many, spread over the names of those that have enough photos.
        views: photos of each class, spread over those that it has.
        size_px: width and height of drawn photos; real ones stay as they are.

    Returns:
        The photos, class by class.

    Raises:
        LookalikeError: PHOTOS names a folder that has too few classes.
    """
    named = os.environ.get("PHOTOS", "")
    source = Path(named).expanduser() if named else GROCERY
    if not named and not source.is_dir():
        return demo_photos.make(directory, products=min(classes, 48), views=views, size_px=size_px)
    folders: dict[Path, list[Path]] = defaultdict(list)
    for path in sorted(source.rglob("*")):
        if path.suffix.lower() in _SUFFIXES:
            folders[path.parent].append(path)
    enough = sorted((folder for folder, paths in folders.items() if len(paths) >= views), key=lambda f: f.name)
    if len(enough) < _FEWEST_CLASSES:
        raise LookalikeError(
            f"PHOTOS must hold at least {_FEWEST_CLASSES} folders of {views} photos or more, got {len(enough)}",
            hint="put the photos of each class into a folder of its own",
        )
    copies = []
    for folder in _spread(enough, classes):
        (directory / folder.name).mkdir(parents=True, exist_ok=True)
        for path in _spread(folders[folder], views):
            copies.append(Path(shutil.copyfile(path, directory / folder.name / path.name)))
    return copies


def _spread(paths: list[Path], count: int) -> list[Path]:
    """So many of them, evenly spaced: neighbours in a folder are often shots of one scene."""
    places = np.linspace(0, len(paths) - 1, min(count, len(paths))).round().astype(int)
    return [paths[place] for place in places]
