"""Changing images that are in the gallery: labels, the trash, and undoing both.

The gallery is changed first and durably; a job then brings the collections in line. What was changed is noted under
the job's id, so that whoever knows it can undo the change.
"""

from collections.abc import Iterable, Mapping, Sequence

from ml.records import Damaged
from workers.client.connection import QueueConnection
from workers.errors import NotFound
from workers.gallery import Gallery, LabelBefore
from workers.messages import TrashedImage
from workers.queue.undo import Change, Undoable


class Changes:
    """The gallery's changes, each as the id of the job that makes searches follow."""

    def __init__(self, connection: QueueConnection, gallery: Gallery) -> None:
        self._connection = connection
        self._gallery = gallery
        self._days = connection.settings.trash_days
        self._undoable = Undoable(connection.redis)

    def relabel(self, labels: Mapping[str, str | None]) -> str:
        """Gives each image its label, or none. Raises NotFound before anything is changed."""
        for id in labels:
            self._gallery.image(id)
        labelled = {}
        for id, label in labels.items():
            before = self._gallery.set_label(id, label)
            labelled[id] = (label, before.label, before.by_person)
        return self._start("label", list(labels), Change(labelled=labelled))

    def delete(self, ids: Sequence[str]) -> str:
        """Moves images to the trash. Raises NotFound before anything is changed."""
        for id in ids:
            self._gallery.image(id)
        for id in ids:
            self._gallery.discard(id)
        return self._start("delete", ids, Change(deleted=ids))

    def undo(self, job: str) -> str:
        """Takes back what a job of `relabel` or `delete` changed; what has been changed again since stays.

        Raises:
            NotFound: it was undone, or is too long ago.
        """
        with self._connection.errors_reported():
            change = self._undoable.read(job)
        if change is None:
            raise NotFound("there is nothing to undo any more", hint="deleted photos are in the trash for a while")
        ids = [
            id
            for id, (given, label, by_person) in change.labelled.items()
            if self._gallery.take_back_label(id, given, LabelBefore(label, by_person))
        ]
        ids += self._restored(change.deleted)
        undoing = self._start("undelete", ids)
        with self._connection.errors_reported():
            self._undoable.forget(job)
        return undoing

    def restore(self, ids: Sequence[str]) -> str:
        """Takes images out of the trash. Raises NotFound when none of them can be."""
        restored = self._restored(ids)
        if ids and not restored:
            raise NotFound(f"there is no image {ids[0]} in the trash", hint="it may have been restored or removed")
        return self._start("undelete", restored)

    def trashed(self, limit: int | None = None) -> tuple[list[TrashedImage], int]:
        """The images that were deleted last, at most `limit`, and how many are in the trash in all."""
        found = sorted(
            (each.shown(self._days) for each in self._gallery.discarded()), key=lambda each: -each.deleted_at
        )
        return found[:limit], len(found)

    def empty_trash(self, ids: Iterable[str] | None = None) -> int:
        """Removes images that are in the trash for good, all of them if none is named. Returns how many.

        Raises NotFound when one that is named is not in the trash, before anything is removed.
        """
        if ids is None:
            return sum(self._gallery.purge(id) for id in list(self._gallery.trash.ids()))
        ids = list(ids)
        for id in ids:
            if not self._gallery.trash.exists(id):
                raise NotFound(f"there is no image {id} in the trash", hint="it may have been restored or removed")
        return sum(self._gallery.purge(id) for id in ids)

    def _restored(self, ids: Iterable[str]) -> list[str]:
        restored = []
        for id in ids:
            try:
                self._gallery.restore(id)
            except (NotFound, Damaged):
                continue
            restored.append(id)
        return restored

    def _start(self, kind: str, ids: Sequence[str], change: Change | None = None) -> str:
        job = self._connection.start_job(kind, {}, list(dict.fromkeys(ids)))
        if change is not None:
            with self._connection.errors_reported():
                self._undoable.note(job, change)
        return job
