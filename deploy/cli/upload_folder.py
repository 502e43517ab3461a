"""Files into the gallery and through an indexing job, as one stream: reading, keeping and embedding overlap.

Interrupt it anywhere and run it again: what is kept is kept, and the job of the next run brings the collection in line.
"""

import collections
import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import MappingProxyType
from typing import Any, TypeVar

from deploy.cli.find_files import Candidate
from ml.errors import LookalikeError
from ml.images import UnreadableImage
from workers.client import Client
from workers.client.index_job import OpenJob
from workers.gallery import Added
from workers.messages import JobStatus

# Reading waits for the disk, hashing and fsync let go of the interpreter's lock; the worker needs the processors more.
_READERS = 4
_READ_AHEAD = 64
Result = TypeVar("Result")

LONGEST_WAIT_S = 300.0  # for a storage or a queue that is away


class IndexingEnded(LookalikeError):
    """An indexing job ended before its end."""


def index(
    client: Client,
    walk: Iterable[Candidate],
    *,
    label: str | None = None,
    label_from_parent: bool = True,
    in_place: bool = False,
    on_same: Callable[[str, str], None] = lambda path, kept: None,
    on_restored: Callable[[str], None] = lambda path: None,
    on_added: Callable[[Candidate, Added], None] = lambda candidate, added: None,
    on_begun: Callable[[str], None] = lambda job: None,
    progress: Callable[[int, int | None], None],
    say: Callable[[str], None] = lambda line: None,
) -> JobStatus:
    """Keeps every image of a walk, or of other files, and makes it searchable.

    Args:
        client: leads to the running system.
        walk: the files.
        label: for every image, chosen by a person; it outranks the folder's name.
        label_from_parent: without `label`, the name of an image's folder becomes its label.
        in_place: leave the files where they are, and keep references to them.
        on_same: told of each file that holds a photo which goes by another file's path, and that path.
        on_restored: told of each photo that was in the trash and is restored, by its path.
        on_added: told of each file that is kept, in their order.
        on_begun: told the job's id.
        progress: called with (images finished, images known so far).
        say: told in a line what is waited for.

    Returns:
        The finished job. Files that could not be read are among its failures.

    Raises:
        LookalikeError: storage, queue or workers fail. What was kept stays kept.
    """

    waiting = Patience(say)

    def keep(candidate: Candidate) -> Added:
        folder = candidate.label if label_from_parent else None
        return waiting.out(
            lambda: client.add(
                candidate.path,
                path=candidate.display_path,
                label=label or folder,
                by_person=label is not None or (candidate.by_person and folder is not None),
                in_place=in_place,
            )
        )

    def note(candidate: Candidate, added: Added) -> None:
        on_added(candidate, added)
        if added.other_path:
            on_same(added.other_path, added.path)
        if added.is_restored:
            on_restored(added.path)

    with client.indexing() as open_job, ThreadPoolExecutor(_READERS, "reader") as readers:
        on_begun(open_job.job)
        try:
            _fill(client, open_job, walk, lambda candidate: readers.submit(keep, candidate), note, progress)
        except BaseException:  # Ctrl-C above all: what nobody has begun to read is not read
            waiting.end()
            readers.shutdown(wait=False, cancel_futures=True)
            raise
    with client.stopping(open_job.job):
        for status in client.follow(open_job.job):
            progress(status.done, status.total)
    if status.state != "done":
        reason = status.detail.get("reason", f"the job {open_job.job} was {status.state}")
        raise IndexingEnded(reason, hint="run the same command again; it goes on from there")
    return status


def _fill(
    client: Client,
    open_job: OpenJob,
    walk: Iterable[Candidate],
    keep: Callable[[Candidate], "Future[Added]"],
    note: Callable[[Candidate, Added], None],
    progress: Callable[[int, int | None], None],
) -> None:
    pending: collections.deque[tuple[Candidate, Future[Added]]] = collections.deque()
    known, shown_at = 0, time.monotonic()

    def take() -> None:
        candidate, added = pending.popleft()
        try:
            open_job.append(added.result().id)
            note(candidate, added.result())
        except UnreadableImage as error:
            open_job.fail(candidate.display_path, error.message)

    try:
        for candidate in walk:
            known += 1
            if candidate.reason:
                open_job.fail(candidate.display_path, candidate.reason)
                continue
            pending.append((candidate, keep(candidate)))
            if len(pending) >= _READ_AHEAD:
                take()
            if time.monotonic() - shown_at > 0.5:
                shown_at = time.monotonic()
                progress(client.job(open_job.job).done, known)
        while pending:
            take()
    except Exception:
        _hand_over(open_job, pending)
        raise


def _hand_over(open_job: OpenJob, pending: Iterable[tuple[Candidate, "Future[Added]"]]) -> None:
    """What is stored by now is handed to the job, though the command ends: nobody else knows of it."""
    for _, added in pending:
        if added.cancel():
            continue
        with contextlib.suppress(LookalikeError):
            open_job.append(added.result().id)


class Patience:
    """Waits for what passes, such as a storage that restarts, together with all readers that meet it."""

    def __init__(self, say: Callable[[str], None], longest_s: float = LONGEST_WAIT_S) -> None:
        self._say, self._longest_s = say, longest_s
        self._ended = threading.Event()
        self._saying = threading.Lock()
        self._said = ""

    def out(self, action: Callable[[], Result]) -> Result:
        """The action's result; tried again with growing pauses while its error passes, up to a limit."""
        began, pause_s = time.monotonic(), 0.25
        while True:
            try:
                result = action()
            except LookalikeError as error:
                if not error.passes or self._ended.is_set() or time.monotonic() - began > self._longest_s:
                    raise
                self._tell(f"waiting: {error.message}")
                self._ended.wait(pause_s)
                pause_s = min(2 * pause_s, 10.0)
            else:
                self._tell("")
                return result

    def end(self) -> None:
        """Nobody waits any longer."""
        self._ended.set()

    def _tell(self, line: str) -> None:
        with self._saying:
            if bool(line) == bool(self._said):
                return
            self._say(line or "going on")
            self._said = line


def report(
    status: JobStatus, skipped: int, same: Mapping[str, str] = MappingProxyType({}), restored: Sequence[str] = ()
) -> dict[str, Any]:
    """What `lookalike index --json` says of a finished job."""
    return {
        "job": status.job,
        "added": status.added,
        "unchanged": status.unchanged,
        "updated": status.updated,
        "failed": status.failed,
        "skipped": skipped,
        "seconds": round(status.seconds, 3),
        "same_photos": [{"path": path, "kept_as": kept} for path, kept in sorted(same.items())],
        "restored": sorted(restored),
        "failures": [dataclasses.asdict(failure) for failure in status.failures],
    }
