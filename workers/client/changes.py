"""Changing images that are in the gallery: labels, the trash, what are no duplicates, and undoing all of it.

The gallery is changed first and durably; a job then brings the collections in line. What was changed is noted under
the job's id, so that whoever knows it can undo the change. An image that is gone, or is not where it was thought to be,
costs only itself: the others are changed, and it is named with the reason.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ml.records import Damaged
from workers.client.connection import QueueConnection
from workers.client.duplicates import Duplicates
from workers.errors import NotFound
from workers.gallery import Gallery, LabelBefore
from workers.gallery.image_records import is_id
from workers.messages import JobStatus, Skipped, TrashedImage
from workers.queue.undo import Change, Undoable
from workers.saved_queries import SavedQueries


@dataclass(frozen=True)
class Changed:
    """What became of a change.

    Args:
        job: makes searches follow, and is what `undo` takes; None when nothing was changed.
        ids: images that were changed.
        skipped: those that were named and could not be.
        status: the job, for whom it was waited for: finished, or going on by itself when the workers are back.
    """

    job: str | None
    ids: Sequence[str]
    skipped: Sequence[Skipped]
    status: JobStatus | None = None

    @property
    def is_followed(self) -> bool:
        """Whether searches see the change, for whom it was waited for."""
        return self.status is None or self.status.is_finished


class Changes:
    """The gallery's changes. Each is made in storage when it returns; its job makes searches follow.

    None is begun while the queue is away, which must take its job: Unavailable says that nothing was changed.
    What concerns no search has no job; what it returns is of use to `undo` alone.
    """

    def __init__(
        self, connection: QueueConnection, gallery: Gallery, duplicates: Duplicates, queries: SavedQueries
    ) -> None:
        self._connection = connection
        self._gallery = gallery
        self._duplicates = duplicates
        self._queries = queries
        self._days = connection.settings.trash_days
        self._undoable = Undoable(connection.redis)

    def relabel(self, labels: Mapping[str, str | None]) -> Changed:
        """Gives each image its label, or none."""
        labelled: dict[str, tuple[str | None, str | None, bool]] = {}

        def give(id: str) -> None:
            before = self._gallery.set_label(id, labels[id])
            labelled[id] = (labels[id], before.label, before.by_person)

        self._await_queue()
        done, skipped = self._each(labels, give)
        return Changed(self._start("label", done, Change(labelled=labelled)), done, skipped)

    def delete(self, ids: Iterable[str]) -> Changed:
        """Moves images to the trash."""
        self._await_queue()
        done, skipped = self._each(ids, self._gallery.discard)
        return Changed(self._start("delete", done, Change(deleted=done)), done, skipped)

    def keep_apart(self, ids: Sequence[str]) -> str:
        """Notes that images are no duplicates of each other. Raises ValueError when they are no ids."""
        self._await_queue()
        self._duplicates.keep_apart(ids)
        with self._connection.errors_reported():
            return self._undoable.note_alone("apart", Change(apart=list(ids)))

    def forget_query(self, id: str) -> str:
        """Removes a saved query. Raises NotFound."""
        self._await_queue()
        self._queries.forget(id)
        with self._connection.errors_reported():
            return self._undoable.note_alone("query", Change(query=id))

    def undo(self, job: str) -> str:
        """Takes back what one of the methods above changed; what has been changed again since stays.

        Raises:
            NotFound: it was undone, or is too long ago.
        """
        with self._connection.errors_reported():
            change = self._undoable.read(job)
        if change is None:
            raise NotFound("there is nothing to undo any more", hint="deleted photos are in the trash for a while")
        ids = []
        for id, (given, label, by_person) in change.labelled.items():
            with contextlib.suppress(Damaged):
                if self._gallery.take_back_label(id, given, LabelBefore(label, by_person)):
                    ids.append(id)
        ids += self._each(change.deleted, self._gallery.restore)[0]
        self._duplicates.keep_apart(change.apart, are_apart=False)
        if change.query is not None:
            with contextlib.suppress(NotFound):  # it was saved anew, or is gone for good
                self._queries.restore(change.query)
        undoing = self._connection.start_job("undelete", {}, ids)
        with self._connection.errors_reported():
            self._undoable.forget(job)
        return undoing

    def restore(self, ids: Iterable[str]) -> Changed:
        """Takes images out of the trash."""
        self._await_queue()
        done, skipped = self._each(ids, self._take_out)
        return Changed(self._start("undelete", done), done, skipped)

    def trashed(self, limit: int | None = None) -> tuple[list[TrashedImage], int]:
        """The images that were deleted last, at most `limit`, and how many are in the trash in all."""
        found = sorted(
            (each.shown(self._days) for each in self._gallery.discarded()), key=lambda each: -each.deleted_at
        )
        return found[:limit], len(found)

    def empty_trash(self, ids: Iterable[str] | None = None) -> Changed:
        """Removes images that are in the trash for good, all of them if none is named. Nothing undoes it."""
        if ids is None:
            return Changed(None, [id for id in list(self._gallery.trash.ids()) if self._gallery.purge(id)], ())
        done, skipped = self._each(ids, self._purge)
        return Changed(None, done, skipped)

    def _await_queue(self) -> None:
        """Raises Unavailable when the queue does not answer, before anything is changed."""
        with self._connection.errors_reported():
            self._connection.redis.ping()

    def _each(self, ids: Iterable[str], do: Callable[[str], object]) -> tuple[list[str], list[Skipped]]:
        """Does something to each image. Returns which it was done to, and which are not as they were thought to be."""
        done, skipped = [], []
        for id in dict.fromkeys(ids):
            try:
                if not is_id(id):
                    raise NotFound(f"there is no image {id}")
                do(id)
            except NotFound:
                skipped.append(self._gallery.skipped(id))
            except Damaged as damaged:
                skipped.append(Skipped(id, "", damaged.message))
            else:
                done.append(id)
        return done, skipped

    def _take_out(self, id: str) -> None:
        if not self._gallery.trash.exists(id):
            raise NotFound(f"there is no image {id} in the trash")
        self._gallery.restore(id)

    def _purge(self, id: str) -> None:
        if not self._gallery.purge(id):
            raise NotFound(f"there is no image {id} in the trash")

    def _start(self, kind: str, ids: Sequence[str], change: Change | None = None) -> str | None:
        """The job that makes searches follow; None when there is nothing to follow."""
        if not ids:
            return None
        job = self._connection.start_job(kind, {}, list(dict.fromkeys(ids)))
        if change is not None:
            with self._connection.errors_reported():
                self._undoable.note(job, change)
        return job
