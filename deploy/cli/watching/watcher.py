"""When to compare a watched folder: soon after the system says that something happened in it, and now and then.

What waits, waits: while the queue, a worker or the storage is away nothing is noted as done, and the next comparison
finds the same again.
"""

import contextlib
import dataclasses
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import redis
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from deploy.cli.watching.folder import Difference, WatchedFolder, Writing
from deploy.cli.watching.follow import Following, follow
from deploy.cli.watching.seen import SeenFiles
from ml.data.photo_files import shown
from ml.errors import LookalikeError
from workers import coverage
from workers.client import Client, Refused
from workers.messages import FolderCoverage
from workers.queue import retries

EVERY_S = 60.0
_GATHERED_S = 0.3  # what happens within so long is looked at together
_UNSETTLED_S = 0.5  # between two looks at files that may still be written
_SHARE = 5  # comparing takes at most a fifth of the time
_ASKED_S = 5.0  # between two looks whether somebody asks to try again
_PAUSE_S = (1.0, 60.0)  # first and longest, after what was to be done failed


class Watcher:
    """Follows folders until it is told to stop.

    Args:
        client: leads to the running system.
        folders: which ones, in full.
        how: see there.
        every_s: longest time between two comparisons of a folder.
        say: gets one line for each thing that was done, and for what is waited for.

    Raises:
        Busy: a folder is watched already.
        Refused: everything that Lookalike keeps lies in one of them, or photos cannot stay in place.
    """

    def __init__(
        self,
        client: Client,
        folders: Sequence[Path],
        how: Following,
        *,
        every_s: float = EVERY_S,
        say: Callable[[str], None],
    ) -> None:
        settings = client.settings
        for folder in folders:
            if settings.home.is_relative_to(folder) and not any(
                part.startswith(".") for part in settings.home.relative_to(folder).parts
            ):
                raise Refused(
                    f"{folder} holds everything that Lookalike keeps, {settings.home}", hint="watch a folder beside it"
                )
        if how.in_place and not settings.storage_url.startswith("file://"):
            raise Refused(
                f"photos cannot stay in place with the storage {settings.storage_url}",
                hint="workers elsewhere do not see them: watch without --in-place",
            )
        self._client, self._how, self._every_s, self._say = client, how, every_s, say
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._observer = Observer()
        self._folders = [
            _Followed(WatchedFolder(root, SeenFiles(settings.home, root), Writing())) for root in _outermost(folders)
        ]

    def stop(self) -> None:
        """Makes `run` return soon."""
        self._stop.set()
        self._wake.set()

    def run(self) -> None:
        """Follows the folders until `stop`."""
        for each in self._folders:
            self._listen(each)
        self._observer.start()
        try:
            while not self._stop.is_set():
                for each in self._folders:
                    if each.due_at() <= time.monotonic() and not self._stop.is_set():
                        self._look(each)
                pause_s = min(each.due_at() for each in self._folders) - time.monotonic()
                self._wake.wait(max(0.0, min(pause_s, _ASKED_S)))
                self._look_where_asked()
                if self._wake.is_set():
                    self._stop.wait(_GATHERED_S)
                    self._wake.clear()
        finally:
            self._observer.stop()
            self._observer.join()
            for each in self._folders:
                each.folder.seen.close()

    def _look_where_asked(self) -> None:
        """Somebody wants what was left out to be tried again."""
        for each in self._folders:
            with contextlib.suppress(redis.RedisError):
                each.has_news |= retries.is_asked(self._client.connection.redis, shown(each.folder.root))

    def _listen(self, each: "_Followed") -> None:
        def noticed() -> None:
            each.has_news = True
            self._wake.set()

        if not each.folder.root.is_dir():
            return
        try:
            self._observer.schedule(_Events(each.folder.writing, noticed), str(each.folder.root), recursive=True)
        except OSError as error:  # the system watches no more folders, for example
            reason = error.strerror or str(error)
            self._say(
                f"{each.folder.root}: compared every {self._every_s:.0f} s, as the system tells nothing: {reason}"
            )

    def _look(self, each: "_Followed") -> None:
        began = time.monotonic()
        each.has_news = False
        try:
            if retries.take(self._client.connection.redis, shown(each.folder.root)):
                each.folder.seen.change({}, [path for path, seen in each.folder.seen.items() if seen.reason])
            difference = each.folder.compare()
            each.quiet_until = time.monotonic() + _SHARE * (time.monotonic() - began)
            self._tell_away(each, difference)
            if not difference.is_empty:
                done = follow(self._client, each.folder.seen, difference, self._how)
                if line := str(done):
                    self._say(f"{each.folder.root}: {line}")
            self._note(each, difference)
            each.pause_s = _PAUSE_S[0]
            wait_s = _UNSETTLED_S if difference.unsettled else self._every_s
        except (LookalikeError, redis.RedisError) as error:
            self._say(f"{each.folder.root}: waiting: {getattr(error, 'message', 'the queue does not answer')}")
            wait_s = each.pause_s
            each.pause_s = min(2 * each.pause_s, _PAUSE_S[1])
        each.next_at = time.monotonic() + wait_s

    def _note(self, each: "_Followed", difference: Difference) -> None:
        """What is on the disk and what of it is indexed, for whoever asks: see workers.coverage."""
        if difference.is_away:
            return
        seen = [(shown(Path(path)), file) for path, file in each.folder.seen.items()]
        failed = [(path, file.reason) for path, file in seen if file.reason]
        record = FolderCoverage(
            folder=shown(each.folder.root),
            host=socket.gethostname(),
            at=each.noted.at if each.noted else 0.0,
            is_watched=True,
            indexed=len(seen) - len(failed),
            same=len(seen) - len(failed) - len(each.folder.seen.ids()),
            failed=len(failed),
            waiting=difference.unsettled,
            skipped=len(difference.skipped),
            failures=coverage.named(failed),
            skips=coverage.named(difference.skipped),
        )
        if record != each.noted:
            each.noted = dataclasses.replace(record, at=time.time())
            self._client.coverage.write(each.noted)

    def _tell_away(self, each: "_Followed", difference: Difference) -> None:
        if difference.is_away != each.is_away:
            each.is_away = difference.is_away
            told = "is away or empty: waiting for it, and removing nothing" if each.is_away else "is there again"
            self._say(f"{each.folder.root} {told}")
            if not each.is_away:
                with contextlib.suppress(KeyError):  # what listened to it is deaf now
                    self._observer.unschedule_all()
                for other in self._folders:
                    self._listen(other)


class _Followed:
    """A folder, whether something happened in it since it was last compared, and when it is compared whatever happens.

    `quiet_until`: not before. `pause_s`: how long to wait after the next failure.
    """

    def __init__(self, folder: WatchedFolder) -> None:
        self.folder = folder
        self.has_news = False
        self.next_at = 0.0
        self.quiet_until = 0.0
        self.pause_s = _PAUSE_S[0]
        self.is_away = False
        self.noted: FolderCoverage | None = None

    def due_at(self) -> float:
        """When to compare it."""
        return max(0.0 if self.has_news else self.next_at, self.quiet_until)


class _Events(FileSystemEventHandler):
    """Notes what the system says of files, and that something happened."""

    def __init__(self, writing: Writing, noticed: Callable[[], None]) -> None:
        self._writing = writing
        self._noticed = noticed

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in ("opened", "closed_no_write"):  # readers, ourselves among them
            return
        if not event.is_directory:
            if event.event_type == "modified":
                self._writing.written(_text(event.src_path))
            elif event.event_type == "closed":
                self._writing.whole(_text(event.src_path))
            elif event.event_type == "moved":
                self._writing.whole(_text(event.dest_path))
        self._noticed()


def _text(path: bytes | str) -> str:
    return path if isinstance(path, str) else path.decode("utf-8", "surrogateescape")


def _outermost(folders: Sequence[Path]) -> list[Path]:
    """Those that lie in none of the others."""
    distinct = list(dict.fromkeys(folders))
    return [each for each in distinct if not any(each != other and each.is_relative_to(other) for other in distinct)]
