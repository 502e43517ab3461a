"""Changing the gallery: adding images, labels, the trash and back."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from ml import files, images
from ml.images import UnreadableImage
from ml.records import Damaged
from workers.errors import NotFound
from workers.gallery.metadata import Known
from workers.gallery.metadata import key as metadata_key
from workers.gallery.originals import AGAIN, Reference, image_id
from workers.gallery.originals import key as original_key
from workers.gallery.reading import GalleryReader, thumbnail_key, view_key
from workers.gallery.sources import described, goes_before, read_file
from workers.messages import GalleryImage


@dataclass(frozen=True)
class Added:
    """What `Gallery.add` did.

    `is_new` is False when the same bytes were there already, `is_changed` says that their path or label changed then.
    `path` is what the image goes by, `other_path` that of a second file that holds it, if there is one. `is_restored`:
    it was in the trash, and has come back with what was known of it.
    """

    id: str
    is_new: bool
    is_changed: bool = False
    path: str = ""
    other_path: str = ""
    is_restored: bool = False


@dataclass(frozen=True)
class LabelBefore:
    """The label that an image had, and whether a person had given it."""

    label: str | None
    by_person: bool


class Gallery(GalleryReader):
    """Images in storage. Safe to use from many threads and processes."""

    def add(
        self, source: bytes | Path, *, path: str, label: str | None, by_person: bool = False, in_place: bool = False
    ) -> Added:
        """Keeps an image durably; one that is kept already is made whole again if it is not.

        Of several files with the same bytes, the first in order of their paths gives the path and the label, whichever
        is added first; when it is gone, the next one does. An image that is in the trash is restored.

        Args:
            source: its bytes, or a file.
            path: where it came from, to show.
            label: its class, or None.
            by_person: a person chose the label, not a folder's name: a folder's name never replaces such a label.
            in_place: the file stays where it is, and no copy is made unless there is one.

        Raises:
            UnreadableImage: it is no image that we accept, as far as its header tells.
            StorageFailed: the storage rejected it.
        """
        file = source if isinstance(source, Path) else None
        data = source if isinstance(source, bytes) else read_file(source, self._limits)
        info = images.probe(data, self._limits)
        id = image_id(data)
        with self._metadata.lock(id):
            discarded = None
            try:
                known = self._metadata.load(id)
                if known is None and (discarded := self._discarded(id)) is not None:
                    known = discarded.known
                is_new = known is None
            except Damaged:
                known, is_new = None, False
            other_path = ""
            if known is None:
                image = described(id, info, len(data), path, label)
            else:
                image = replace(known.image, taken_at=info.taken_at)
                if file is not None and path != image.path:
                    is_first, other_path = goes_before(path, image)
                    if is_first:
                        image = replace(image, path=path, name=PurePath(path).name)
                    elif not by_person:
                        label = None  # the first of the files gives it
                if label is not None and (by_person or not known.by_person):
                    image = replace(image, label=label)
            by_person = (by_person and label is not None) or (known is not None and known.by_person)
            reference = self._keep_original(id, data, file, known, in_place=in_place, follow=image.path == path)
            changed = Known(replace(image, is_in_place=reference is not None), by_person, reference)
            if changed != known or discarded is not None:
                self._metadata.write(changed)
                if known is None and not is_new:
                    self._log.mended(metadata_key(id))
            if discarded is not None:
                self.trash.delete(id)
        is_changed = known is not None and (image.path, image.label) != (known.image.path, known.image.label)
        return Added(id, is_new, is_changed, image.path, other_path, discarded is not None)

    def set_label(self, id: str, label: str | None) -> LabelBefore:
        """Gives an image the label that a person chose. Returns the one that it had.

        Raises NotFound, and Damaged when its metadata is.
        """
        with self._metadata.lock(id):
            known = self._metadata.load(id)
            if known is None:
                raise NotFound(f"there is no image {id}", hint="it may have been deleted; search again")
            self._metadata.write(replace(known, image=replace(known.image, label=label), by_person=True))
            return LabelBefore(known.image.label, known.by_person)

    def take_back_label(self, id: str, given: str | None, before: LabelBefore) -> bool:
        """Gives an image back the label that it had; not if it has got another than `given` since, or is gone."""
        with self._metadata.lock(id):
            known = self._metadata.load(id)
            if known is None or known.image.label != given:
                return False
            image = replace(known.image, label=before.label)
            self._metadata.write(replace(known, image=image, by_person=before.by_person))
            return True

    def rebuild(self, id: str, *, path: str, label: str | None) -> GalleryImage:
        """Writes damaged metadata anew, from the original and what a collection remembers: its path and label.

        Raises:
            NotFound: the image does not exist.
            Damaged: the original is, too.
        """
        with self._metadata.lock(id):
            try:
                known = self._metadata.load(id)
                if known is None:
                    raise NotFound(f"there is no image {id}", hint="it may have been deleted")
                return known.image
            except Damaged as damaged:
                data, reference = self._surviving(id, path, damaged)
            image = described(id, images.probe(data, self._limits), len(data), path, label)
            image = replace(image, is_in_place=reference is not None)
            # Of a label that is not the folder's name, a person is more likely the author.
            self._metadata.write(Known(image, label is not None and label != PurePath(path).parent.name, reference))
            self._log.mended(metadata_key(id))
            return image

    def put_view(self, id: str, data: bytes) -> None:
        """Keeps a large copy, while the image exists."""
        with self._metadata.lock(id):
            if self._metadata.exists(id):
                self._storage.put(view_key(id), data)

    def put_thumbnails(self, thumbnails: Mapping[str, bytes]) -> None:
        """Keeps what was made, id -> JPEG."""
        self._storage.put_many({thumbnail_key(id): data for id, data in thumbnails.items()})

    def forget(self, id: str) -> None:
        """Removes an image's metadata: from here on it does not exist. `sweep` removes the rest."""
        with self._metadata.lock(id):
            self._metadata.delete(id)
        for key in (metadata_key(id), original_key(id)):
            self._log.mended(key)

    def sweep(self, id: str) -> None:
        """Removes original and thumbnail of an image that does not exist any more, and is not in the trash."""
        with self._metadata.lock(id):
            if not self._metadata.exists(id) and not self.trash.exists(id):
                self._remove_files(id)

    def discard(self, id: str) -> None:
        """Moves an image to the trash: from here on it does not exist, and can be restored. Raises NotFound.

        One whose metadata is damaged goes for good: there is nothing that it could be restored from.
        """
        with self._metadata.lock(id):
            try:
                known = self._metadata.load(id)
            except Damaged:
                self._metadata.delete(id)
            else:
                if known is None:
                    raise NotFound(f"there is no image {id}", hint="it may have been deleted; search again")
                self.trash.write(known)
                self._metadata.delete(id)
        for key in (metadata_key(id), original_key(id)):
            self._log.mended(key)

    def restore(self, id: str) -> GalleryImage:
        """Takes an image out of the trash, with its label; one that exists stays as it is.

        Raises:
            NotFound: it is not in the trash.
            Damaged: its record there is, or its original is gone.
        """
        with self._metadata.lock(id):
            if (known := self._metadata.load(id)) is not None:
                self.trash.delete(id)
                return known.image
            discarded = self.trash.load(id)
            if discarded is None:
                raise NotFound(f"there is no image {id} in the trash", hint="it may have been restored or removed")
            reference = discarded.known.reference
            if not self.originals.exists(id) and reference is None:
                raise Damaged(
                    f"the original of image {id} is missing", hint="add the photo again", key=original_key(id)
                )
            self._metadata.write(discarded.known)
            self.trash.delete(id)
            return discarded.known.image

    def purge(self, id: str) -> bool:
        """Removes an image that is in the trash for good. False when it is not there, or has been restored."""
        with self._metadata.lock(id):
            if not self.trash.exists(id):
                return False
            exists = self._metadata.exists(id)
            if not exists:
                self._remove_files(id)
            self.trash.delete(id)  # last: cut short before, it is done again
            return not exists

    def _remove_files(self, id: str) -> None:
        self._storage.delete(thumbnail_key(id))
        self._storage.delete(view_key(id))
        self.originals.delete(id)

    def _keep_original(
        self, id: str, data: bytes, file: Path | None, known: Known | None, *, in_place: bool, follow: bool
    ) -> Reference | None:
        """Sees to it that the original is there; the reference to it if it stays in place.

        `follow`: the image goes by this file's path, so a reference leads there, too.
        """
        has_copy = self.originals.holds(id, len(data))
        if in_place and file is not None:
            if has_copy:
                return None
            reference = known.reference if known else None
            if reference is not None and not follow:
                return reference
            self.originals.delete(id)  # damaged, or linked by an earlier version
            try:
                return Reference.to(file, data)
            except OSError as error:
                raise UnreadableImage(f"cannot be read: {error.strerror or error}") from error
        if not has_copy:
            self.originals.put(id, data, file)
            if known is not None:
                self._log.mended(original_key(id))
        return None

    def _surviving(self, id: str, path: str, damaged: Damaged) -> tuple[bytes, Reference | None]:
        """The original of an image whose metadata is damaged, with a reference if it is still at its path."""
        try:
            return self.originals.read(id), None
        except (FileNotFoundError, Damaged) as error:
            with contextlib.suppress(OSError):
                if Path(path).is_absolute() and image_id(data := files.read_regular(Path(path))) == id:
                    return data, Reference.to(Path(path), data)
            raise Damaged(f"{damaged.message}, and the original is missing", hint=AGAIN, key=damaged.key) from error
