"""Backup, restore and migration, the client's side.

Each is a job that workers do a 256th at a time (workers.tasks.transfer); what comes before and after it is small and
done here.
"""

import json
import time
from collections.abc import Mapping

from ml.storage import Storage, open_storage
from workers.client.api import Client
from workers.errors import NotFound, Refused
from workers.messages import JobStatus
from workers.queue.jobs import PREFIXES


class Backup:
    """Copies what a client's system keeps to another place, and back."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._here = open_storage(client.settings.storage_url)

    def archive(self, to: str) -> str:
        """Starts a job that makes an archive at a URL hold what is here; again only what changed. Returns its id.

        When it is done, `finish_archive` makes the archive one that can be restored.

        Raises:
            Refused: nothing is here, but the archive holds something.
            StorageFailed: the archive cannot be written.
        """
        _check_writable(to)
        if next(self._client.gallery.ids(), None) is None and open_storage(to).exists("backup.json"):
            raise Refused(
                f"the gallery is empty, and {to} holds a backup that it would empty, too",
                hint="choose another place, or restore that backup: lookalike restore",
            )
        return self._start("backup", {"to": to})

    def finish_archive(self, to: str, status: JobStatus) -> None:
        """Copies models and state, and writes the manifest, which says that the archive is whole."""
        archive = open_storage(to)
        _copy_models(self._here, archive)
        archive.put("backup.json", json.dumps({"made_at": time.time(), **status.detail}).encode())

    def restore(self, source: str) -> str:
        """Starts a job that brings an archive's images, points and models here. Returns its id.

        Raises:
            NotFound: there is no whole archive.
        """
        archive = open_storage(source)
        if not archive.exists("backup.json"):
            raise NotFound(f"there is no complete backup at {source}", hint="lookalike backup makes one")
        _copy_models(archive, self._here, but=("active.json",))
        return self._start("restore", {"from": source})

    def finish_restore(self, source: str) -> None:
        """Makes the model and collection active that were when the backup was made."""
        named = json.loads(open_storage(source).get("models/active.json"))
        self._client.registry.activate(named["model"], named["collection"])

    def migrate(self, to_storage: str, to_qdrant: str) -> str:
        """Starts a job that copies everything to another storage, another Qdrant server, or both. Returns its id.

        Raises:
            StoreFailed: no Qdrant server answers there.
            StorageFailed: the storage cannot be written.
        """
        if to_qdrant:
            from workers.store.server import ServerStore

            ServerStore.connect(to_qdrant, self._client.settings.qdrant_api_key).close()
        if to_storage:
            _check_writable(to_storage)
            _copy_models(self._here, open_storage(to_storage))
        return self._start("migrate", {"to_storage": to_storage, "to_qdrant": to_qdrant})

    def _start(self, kind: str, params: Mapping[str, str]) -> str:
        return self._client.connection.start_job(kind, params, PREFIXES, chunk_size=4)


def _check_writable(url: str) -> None:
    """Said at once to whoever asks: a worker would wait for the place to come back."""
    storage = open_storage(url)
    storage.put("writable", b"")
    storage.delete("writable")


def _copy_models(source: Storage, target: Storage, but: tuple[str, ...] = ()) -> None:
    for key in source.keys("models"):
        if not key.endswith(("building.json", *but)):
            target.put(key, source.get(key))
