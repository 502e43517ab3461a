"""What an archive must be before anything of it is taken: whoever restores one may have got it from somebody else.

Names, sizes and kinds of files, models and their state are looked at as a whole, first. The photos are not: each is
compared with its id when its turn comes, and left out if it is none, so that one flipped bit does not cost a backup.
"""

import hashlib
import re
from pathlib import Path, PurePath
from typing import Any

from ml import records
from ml.model.bundle import Bundle
from ml.model.registry import Registry
from ml.names import MODEL_JSON, BadName, CollectionName, ModelName
from ml.records import Damaged
from ml.storage import Storage
from workers import answers, coverage, saved_queries
from workers.store.archive import Archive

_ID = r"([0-9a-f]{2})/\1[0-9a-f]{30}"
_MB = 2**20
_MODEL_FILES = r"(active|history|building)\.json|calibrations/[^/]+\.json|(?P<name>[^/]+)/[A-Za-z0-9_-]+(\.[a-z]+)+"
# Folder -> what its files are called below it, and how large one may be: the first that fits.
_LAYOUT: dict[str, tuple[tuple[re.Pattern[str], int], ...]] = {
    "originals": ((re.compile(_ID), 4096 * _MB),),
    "thumbnails": ((re.compile(_ID + r"\.jpg"), 4 * _MB),),
    "metadata": ((re.compile(_ID + r"\.json"), _MB),),
    "trash": ((re.compile(_ID + r"\.json"), _MB),),
    **dict.fromkeys(answers.FOLDERS, ((re.compile(r"[0-9a-f]{2}/pairs\.json"), 64 * _MB),)),
    saved_queries.FOLDER: (
        (re.compile(r"[0-9a-f]{32}\.json"), _MB),
        (re.compile(r"[0-9a-f]{32}\.photo"), 4096 * _MB),
    ),
    coverage.FOLDER: ((re.compile(r"[0-9a-f]{32}\.json"), 64 * _MB),),
    "collections": ((re.compile(r"(?P<name>[^/]+)/(collection\.json|[0-9a-f]{2}\.(json|safetensors))"), 4096 * _MB),),
    "models": (
        (re.compile(rf"(?P<name>[^/]+)/{re.escape(MODEL_JSON)}"), 16 * _MB),
        (re.compile(_MODEL_FILES), 16384 * _MB),
    ),
}
_NAMES = {"collections": CollectionName, "models": ModelName}


def check(archive: Storage, url: str) -> None:
    """Whether an archive can be restored.

    Raises:
        Damaged: it holds a link, a pipe or a device, a file of a name or size that none of a backup has, a model that
            is damaged, or a state that names what is not there.
    """
    for folder in _LAYOUT:
        for key, size in archive.sizes(folder):
            if reason := _reason(folder, key, size):
                raise _refusal(url, f"{key!a} {reason}")
    for key, _ in archive.sizes("models"):
        if key.endswith(f"/{MODEL_JSON}"):
            _check_model(archive, key, url)
    registry = Registry(f"{url.rstrip('/')}/models")
    for damaged in registry.damaged():
        if not damaged.key.endswith("building.json"):  # of another system's jobs; nobody restores it
            raise _refusal(url, damaged.message)
    models = {record.name: record.dim for record in registry.models()}
    collections = {name: Archive(archive).dim(name) for name in Archive(archive).collections()}
    for entry in [registry.named(), *registry.history()]:
        if entry is None:
            continue
        if entry.model not in models or entry.collection not in collections:
            raise _refusal(url, f"it lacks model {entry.model} or collection {entry.collection}, which its state names")
        if (given := collections[entry.collection]) != (expected := models[entry.model]):
            lengths = f"have {given} numbers, those of model {entry.model} {expected}"
            raise _refusal(url, f"vectors of collection {entry.collection} {lengths}")


def _check_model(archive: Storage, key: str, url: str) -> None:
    """Whether a model's files are those that it was saved with."""
    folder = PurePath(key).parent
    bundle = records.read(archive, key, lambda facts: Bundle.from_json(Path(folder), facts))
    for name, expected in bundle.files.items():
        try:
            content = archive.get(f"{folder}/{name}")
        except FileNotFoundError:
            content = b""
        if hashlib.sha256(content).hexdigest() != expected:
            raise _refusal(url, f"{folder}/{name} is missing or not what was saved")


def _reason(folder: str, key: str, size: int) -> str:
    """Why a file is none of a backup; empty when it is one."""
    if size < 0:
        return "is no regular file"
    name = key.removeprefix(f"{folder}/")
    found, largest = next(
        ((found, largest) for pattern, largest in _LAYOUT[folder] if (found := pattern.fullmatch(name))), (None, 0)
    )
    if found is None:
        return "is no file of a backup"
    if size > largest:
        return f"has {size} bytes"
    kind: Any = _NAMES.get(folder)
    try:
        if kind is not None and found["name"] is not None:
            kind(found["name"])
    except BadName as error:
        return f"is no file of a backup: {error.message}"
    return ""


def _refusal(url: str, reason: str) -> Damaged:
    return Damaged(f"the backup at {url} is damaged: {reason}", hint="make a new backup", key=url)
