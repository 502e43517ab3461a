"""Backup, restore and migration, the client's side.

Each is a job that workers do a 256th at a time (workers.tasks.transfer); what comes before and after it is small and
done here.
"""

import itertools
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Any

from msgspec import Meta

from ml import records
from ml.model.registry import Registry
from ml.model.removed_models import is_of_removed
from ml.records import Damaged
from ml.storage import Storage, open_storage
from workers.client import archive_check
from workers.client.api import Client
from workers.errors import NotFound, Refused
from workers.messages import JobStatus
from workers.queue.jobs import PREFIXES

_IDENTITY = "gallery.json"  # which gallery a storage or an archive is
_MANIFEST = "backup.json"  # written last: with it an archive is whole
_COMPARED = 200  # photos that an archive without a name is recognised by


class Backup:
    """Copies what a client's system keeps to another place, and back."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._here = open_storage(client.settings.storage_url)

    def archive(self, to: str) -> str:
        """Starts a job that makes an archive at a URL hold what is here; again only what changed. Returns its id.

        When it is done, `finish_archive` makes the archive one that can be restored.

        Raises:
            Refused: nothing is here, but the archive holds something; or it is that of another gallery.
            StorageFailed: the archive cannot be written.
        """
        _check_writable(to)
        archive = open_storage(to)
        self._check_owner(archive, to)
        if next(self._client.gallery.ids(), None) is None and open_storage(to).exists("backup.json"):
            raise Refused(
                f"the gallery is empty, and {to} holds a backup that it would empty, too",
                hint="choose another place, or restore that backup: lookalike restore",
            )
        records.write(archive, _IDENTITY, {"id": self._identity()})
        return self._start("backup", {"to": to})

    def finish_archive(self, to: str, status: JobStatus) -> None:
        """Copies models and state, and writes the manifest, which says that the archive is whole."""
        archive = open_storage(to)
        kept = set(_copy_models(self._here, archive))
        for key in [key for key in archive.keys("models") if key not in kept]:
            archive.delete(key)
        records.write(archive, _MANIFEST, {"made_at": time.time(), **status.detail})

    def restore(self, source: str) -> str:
        """Starts a job that brings an archive's images, points and models here. Returns its id.

        Raises:
            NotFound: there is no whole archive.
            Damaged: its manifest is not what was written, or the archive is none: see `archive_check.check`.
        """
        archive = open_storage(source)
        try:
            records.read(archive, _MANIFEST, _object, name=f"the backup at {source}")
        except FileNotFoundError:
            raise NotFound(f"there is no complete backup at {source}", hint="lookalike backup makes one") from None
        owner, _ = _owner(archive)
        archive_check.check(archive, source)
        if owner and next(self._client.gallery.ids(), None) is None:
            records.write(self._here, _IDENTITY, {"id": owner})  # it is that gallery now, and goes on with its archive
        _copy_models(archive, self._here, but=("active.json",))
        return self._start("restore", {"from": source})

    def finish_restore(self, source: str) -> None:
        """Makes the model and collection active that were when the backup was made."""
        active = Registry(f"{source.rstrip('/')}/models").active()
        if active is None:
            raise NotFound(f"the backup at {source} does not say which model is active", hint="make a new backup")
        self._client.registry.activate(active.model, active.collection)

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
            target = open_storage(to_storage)
            _copy_models(self._here, target)
            records.write(target, _IDENTITY, {"id": self._identity()})  # it goes on with its archives there
        return self._start("migrate", {"to_storage": to_storage, "to_qdrant": to_qdrant})

    def _identity(self) -> str:
        """The name of this gallery, made when it is first needed, and anew when it is damaged."""
        with self._here.lock(_IDENTITY):
            owner, _ = _owner(self._here)
            if owner is None:
                owner = uuid.uuid4().hex
                records.write(self._here, _IDENTITY, {"id": owner})
            return owner

    def _check_owner(self, archive: Storage, url: str) -> None:
        (owner, _), (_, is_damaged) = _owner(archive), _owner(self._here)
        ids = [PurePath(key).stem for key in itertools.islice(archive.keys("metadata"), _COMPARED)]
        if owner is None:  # made by an earlier version, or its name is damaged: a photo in common tells whose it is
            is_ours = not ids or bool(self._client.gallery.find_many(ids))
        elif is_damaged:  # we know our own name no more: what holds most of our photos is ours
            is_ours = not ids or len(self._client.gallery.find_many(ids)) > len(ids) / 2
            if is_ours:
                records.write(self._here, _IDENTITY, {"id": owner})
        else:
            is_ours = owner == self._identity()
        if not is_ours:
            raise Refused(
                f"{url} holds the backup of another gallery, whose photos it would remove",
                hint="choose another place: one archive for each gallery",
            )

    def _start(self, kind: str, params: Mapping[str, str]) -> str:
        return self._client.connection.start_job(kind, params, PREFIXES, chunk_size=4)


@dataclass(frozen=True)
class _Identity:
    """What gallery.json holds."""

    id: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]


def _object(value: Any) -> dict[str, Any]:
    return records.typed(dict[str, Any], value)


def _owner(storage: Storage) -> tuple[str | None, bool]:
    """The name of the gallery that is kept in some storage, None where it has none; and whether that is damaged."""
    try:
        return records.read(storage, _IDENTITY, lambda record: records.typed(_Identity, record).id), False
    except FileNotFoundError:
        return None, False
    except Damaged:
        return None, True


def _check_writable(url: str) -> None:
    """Said at once to whoever asks: a worker would wait for the place to come back."""
    storage = open_storage(url)
    storage.put("writable", b"")
    storage.delete("writable")


def _copy_models(source: Storage, target: Storage, but: tuple[str, ...] = ()) -> list[str]:
    """Returns the keys of what was copied. Models that were removed stay behind."""
    there = list(source.keys("models"))
    keys = [key for key in there if not key.endswith(("building.json", *but)) and not is_of_removed(key, there)]
    for key in keys:
        target.put(key, source.get(key))
    return keys
