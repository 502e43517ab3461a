"""Files into the gallery and through an indexing job, as one stream: reading, keeping and embedding overlap.

Interrupt it anywhere and run it again: what is kept is kept, and the job of the next run brings the collection in line.
"""

import collections
import dataclasses
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from deploy.cli.find_files import Found, Walk
from ml.errors import LookalikeError
from ml.images import UnreadableImage
from workers.client import Client
from workers.client.index_job import OpenJob
from workers.gallery import Added
from workers.messages import JobStatus

# Reading waits for the disk, hashing and fsync let go of the interpreter's lock; the worker needs the processors more.
_READERS = 4
_READ_AHEAD = 64


class IndexingEnded(LookalikeError):
    """An indexing job ended before its end."""


def index(
    client: Client,
    walk: Walk,
    *,
    label: str | None = None,
    label_from_parent: bool = True,
    progress: Callable[[int, int | None], None],
) -> JobStatus:
    """Keeps every image of a walk and makes it searchable.

    Args:
        client: leads to the running system.
        walk: the files.
        label: for every image, chosen by a person; it outranks the folder's name.
        label_from_parent: without `label`, the name of an image's folder becomes its label.
        progress: called with (images finished, images known so far).

    Returns:
        The finished job. Files that could not be read are among its failures.

    Raises:
        LookalikeError: storage, queue or workers fail. What was kept stays kept.
    """

    def keep(found: Found) -> Added:
        folder = found.label if label_from_parent else None
        return client.add(found.path, path=found.shown_path, label=label or folder, by_person=label is not None)

    with client.indexing() as open_job, ThreadPoolExecutor(_READERS, "reader") as readers:
        try:
            _fill(client, open_job, walk, lambda found: readers.submit(keep, found), progress)
        except BaseException:  # Ctrl-C above all: what nobody has begun to read is not read
            readers.shutdown(wait=False, cancel_futures=True)
            raise
    with client.stopping(open_job.job):
        for status in client.follow(open_job.job):
            progress(status.done, status.total)
    if status.state != "done":
        raise IndexingEnded(
            f"the job {open_job.job} was {status.state}", hint="run the same command again; it goes on from there"
        )
    return status


def _fill(
    client: Client,
    open_job: OpenJob,
    walk: Iterable[Found],
    keep: Callable[[Found], "Future[Added]"],
    progress: Callable[[int, int | None], None],
) -> None:
    pending: collections.deque[tuple[Found, Future[Added]]] = collections.deque()
    known, shown_at = 0, time.monotonic()

    def take() -> None:
        found, added = pending.popleft()
        try:
            open_job.append(added.result().id)
        except UnreadableImage as error:
            open_job.fail(found.shown_path, error.message)

    for found in walk:
        known += 1
        if found.reason:
            open_job.fail(found.shown_path, found.reason)
            continue
        pending.append((found, keep(found)))
        if len(pending) >= _READ_AHEAD:
            take()
        if time.monotonic() - shown_at > 0.5:
            shown_at = time.monotonic()
            progress(client.job(open_job.job).done, known)
    while pending:
        take()


def report(status: JobStatus, skipped: int) -> dict[str, Any]:
    """What `lookalike index --json` says of a finished job."""
    return {
        "job": status.job,
        "added": status.added,
        "unchanged": status.unchanged,
        "updated": status.updated,
        "failed": status.failed,
        "skipped": skipped,
        "seconds": round(status.seconds, 3),
        "failures": [dataclasses.asdict(failure) for failure in status.failures],
    }
