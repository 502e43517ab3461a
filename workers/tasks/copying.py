"""The files of a gallery, as backup, restore and migration copy them: which there are, and what each has to be.

A file that is not what it should be is left out, and counted: one flipped bit does not cost a backup, and nothing of an
archive that somebody else made gets here unread.
"""

from collections.abc import Callable, Iterable
from pathlib import PurePath

from ml import records
from ml.records import Damaged
from ml.storage import Storage
from workers import answers, coverage, saved_queries
from workers.answers import Answers
from workers.coverage import Coverage
from workers.gallery import metadata, trash
from workers.gallery.originals import image_id
from workers.queue.jobs import PREFIXES
from workers.saved_queries import SavedQueries

# Metadata after originals: with it an image exists. The trash on both sides of it: whichever way an image moves between
# the two meanwhile, one of them has it, and metadata counts where both do.
DIVIDED = ("originals", "thumbnails", "trash", "metadata", "trash", *answers.FOLDERS)
# Of these there are few files: one item of a job takes them all.
UNDIVIDED = (saved_queries.FOLDER, coverage.FOLDER)


def folders_of(prefix: str) -> list[str]:
    """The folders that the item of a job with this prefix copies, in order."""
    whole = UNDIVIDED if f"prefix:{prefix}" == PREFIXES[0] else ()
    return [*(f"{folder}/{prefix}" for folder in DIVIDED), *whole]


def copy_files(source: Storage, target: Storage, folder: str, renew: Callable[[], None]) -> tuple[list[str], list[str]]:
    """Copies a folder's files that the target lacks; those that may change are compared first.

    Returns:
        All keys of the folder, and those that were left out.
    """
    if source.url == target.url:
        return [], []
    copy = _COPIERS[folder.partition("/")[0]]
    keys, left_out = list(source.keys(folder)), []
    for count, key in enumerate(sorted(keys, key=_is_record), 1):
        if count % 20 == 0:
            renew()
        try:
            copy(source, target, key)
        except Damaged:
            left_out.append(key)
        except FileNotFoundError:  # deleted or restored meanwhile
            continue
    return keys, left_out


def remove_others(target: Storage, folder: str, keys: Iterable[str]) -> None:
    """Removes the files of a folder that are none of these."""
    for key in sorted(set(target.keys(folder)) - set(keys)):
        target.delete(key)


def _copy_original(source: Storage, target: Storage, key: str) -> None:
    """Only where its bytes are those that its id was made of. It replaces one whose are not."""
    if target.size(key) == source.size(key) and _is_original(target, key):
        return
    data = source.get(key)
    if image_id(data) != PurePath(key).name:
        raise Damaged(f"{key} is damaged: it is not what was written", key=key)
    target.put(key, data)


def _is_original(storage: Storage, key: str) -> bool:
    """Whether a stored original is what its id says; of storage that is elsewhere, its size has to do."""
    return storage.local_path("") is None or image_id(storage.get(key)) == PurePath(key).name


def _copy_thumbnail(source: Storage, target: Storage, key: str) -> None:
    if not target.exists(key):
        target.put(key, source.get(key))


def _copy_metadata(source: Storage, target: Storage, key: str) -> None:
    """Also of an image in the trash. The source's counts, whichever is later."""
    parse = trash.parsed if key.startswith("trash/") else metadata.parsed
    data = source.get(key)
    records.decoded(data, lambda record: parse(PurePath(key).stem, record), name=key)
    if not target.exists(key) or target.get(key) != data:
        target.put(key, data)


def _copy_answers(source: Storage, target: Storage, key: str) -> None:
    """Answer by answer: the later one counts."""
    Answers(target, folder=key.partition("/")[0]).take(key, records.read(source, key, answers.parsed))


def _copy_query(source: Storage, target: Storage, key: str) -> None:
    SavedQueries(target).take(key, source.get(key))


def _copy_coverage(source: Storage, target: Storage, key: str) -> None:
    Coverage(target).take(key, source.get(key))


_COPIERS: dict[str, Callable[[Storage, Storage, str], None]] = {
    "originals": _copy_original,
    "thumbnails": _copy_thumbnail,
    "metadata": _copy_metadata,
    "trash": _copy_metadata,
    **dict.fromkeys(answers.FOLDERS, _copy_answers),
    saved_queries.FOLDER: _copy_query,
    coverage.FOLDER: _copy_coverage,
}


def _is_record(key: str) -> bool:
    """What a record is about goes first."""
    return key.endswith(".json")
