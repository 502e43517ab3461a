"""Why a photo is not in the gallery, or where in it: what a person who misses one wants to know."""

import dataclasses
import datetime
from pathlib import PurePath

from ml import images
from ml.images import UnreadableImage
from workers.client.api import Client
from workers.errors import NotFound, Refused, Unavailable
from workers.gallery import image_id, limits
from workers.messages import Failure, FolderCoverage, Whereabouts
from workers.queue.retries import ask

_ALIKE = 0.97  # cosine from which a photo is worth showing: most likely the same one, saved anew


def folders(client: Client) -> list[FolderCoverage]:
    """Every folder that was indexed or is watched, the latest first; `waiting` is what its job has not done yet."""
    found = [_current(client, folder) for folder in client.coverage.folders()]
    return sorted(found, key=lambda folder: -folder.at)


def retry_folder(client: Client, folder: str) -> None:
    """Asks whoever watches a folder to try again what was left out of it.

    Raises:
        NotFound: no such folder was indexed.
        Refused: nobody watches it.
    """
    known = [each for each in client.coverage.folders() if each.folder == folder]
    if not known:
        raise NotFound(f"no folder {folder} was indexed", hint="lookalike coverage lists them")
    if not any(each.is_watched for each in known):
        raise Refused(f"{folder} is not watched: only its machine can read it", hint=f"lookalike index {folder}")
    with client.connection.errors_reported():
        ask(client.connection.redis, folder)


def whereabouts(client: Client, data: bytes, name: str) -> Whereabouts:
    """Where a photo is, or why it is nowhere.

    Args:
        client: leads to the running system.
        data: the photo's bytes.
        name: of its file, to look for among those that were left out.

    Raises:
        Unavailable: the queue or every worker is away.
    """
    id = image_id(data)
    if (here := _in_gallery(client, id)) is not None:
        return here
    kind, left_out = _left_out(client, name)
    try:
        images.probe(data, limits(client.settings))
        nearest = next(iter(client.search(data, k=1).results), None)
    except UnreadableImage as error:
        path = left_out.path if left_out else None
        told = f"It cannot be read: it {error.message}."
        return Whereabouts(
            "unreadable", told, error.hint or "Open it in another program, and save it as JPEG.", None, path
        )
    if left_out is not None:
        told = f"A file of this name was left out: {left_out.path}: {left_out.reason}."
        return Whereabouts(kind, told, "This one can be read: add it here.", None, left_out.path)
    if nearest is not None and nearest.similarity >= _ALIKE:
        told = f"Not these bytes, but a photo that looks the same: {nearest.path}."
        return Whereabouts("alike", told, "If it is not the same photo, add this one.", nearest.id, nearest.path)
    count = sum(1 for _ in client.coverage.folders())
    where = f", and no file in the {count} indexed folder{'s' if count > 1 else ''} held it" if count else ""
    return Whereabouts("unknown", f"It was never added{where}.", "Add it here, or index the folder that it lies in.")


def _in_gallery(client: Client, id: str) -> Whereabouts | None:
    try:
        image = client.image(id)
    except NotFound:
        discarded = client.gallery.trash.load(id)
        if discarded is None:
            return None
        day = datetime.datetime.fromtimestamp(discarded.deleted_at, datetime.UTC).strftime("%Y-%m-%d")
        told = f"It is in the trash since {day}."
        return Whereabouts("trash", told, "Restore it there.", id, discarded.known.image.path)
    if image.state != "ok":
        told = f"It is in the gallery as {image.path}, and its file there is {image.state}."
        return Whereabouts("damaged", told, "Index the file again, or run: lookalike verify --repair", id, image.path)
    return Whereabouts("here", f"It is in the gallery as {image.path}.", "", id, image.path)


def _left_out(client: Client, name: str) -> tuple[str, Failure | None]:
    """The file of this name that was left out of a folder last, and whether it failed or was skipped."""
    wanted = PurePath(name).name.casefold()
    for folder in sorted(client.coverage.folders(), key=lambda each: -each.at):
        for kind, files in (("failed", folder.failures), ("skipped", folder.skips)):
            for each in files:
                if PurePath(each.path).name.casefold() == wanted:
                    return kind, each
    return "", None


def _current(client: Client, folder: FolderCoverage) -> FolderCoverage:
    """With what its job has done by now."""
    if folder.is_complete or folder.job is None:
        return folder
    try:
        job = client.job(folder.job)
    except (NotFound, Unavailable):
        return folder
    indexed = job.done - job.failed
    return dataclasses.replace(folder, indexed=indexed, failed=job.failed, waiting=job.total - job.done)
