"""A photo's file on its way into the gallery: read within limits, described, and put in order with others like it."""

import os
import time
from pathlib import Path, PurePath

from ml import files
from ml.images import ImageInfo, Limits, UnreadableImage
from workers.gallery.originals import image_id
from workers.messages import GalleryImage


def read_file(path: Path, limits: Limits) -> bytes:
    """The bytes of a photo. Raises UnreadableImage when it cannot be read or is larger than the limit."""
    try:
        with files.open_regular(path) as file:
            data = file.read(limits.max_bytes + 1)
            if len(data) > limits.max_bytes:
                size_mb, limit_mb = os.fstat(file.fileno()).st_size / 2**20, limits.max_bytes / 2**20
                raise UnreadableImage(f"is {size_mb:.0f} MB, the limit is {limit_mb:.0f} MB")
            return data
    except OSError as error:
        raise UnreadableImage(f"cannot be read: {error.strerror or error}") from error


def described(id: str, info: ImageInfo, size: int, path: str, label: str | None) -> GalleryImage:
    """An image as it is first known."""
    return GalleryImage(
        id=id,
        name=PurePath(path).name,
        path=path,
        label=label,
        width=info.width,
        height=info.height,
        format=info.format,
        bytes=size,
        added_at=time.time(),
        taken_at=info.taken_at,
    )


def goes_before(path: str, image: GalleryImage) -> tuple[bool, str]:
    """Whether a file goes before the one that an image was known by, and the other one's path if both are there."""
    if not _holds(Path(image.path), image):
        return True, ""
    return PurePath(path).parts < PurePath(image.path).parts, max(image.path, path, key=lambda p: PurePath(p).parts)


def _holds(path: Path, image: GalleryImage) -> bool:
    """Whether a file of this machine is this image."""
    try:
        return (
            path.is_absolute() and path.stat().st_size == image.bytes and image_id(files.read_regular(path)) == image.id
        )
    except (OSError, ValueError):
        return False
