"""What of photos is compared to find copies, made once for each and remembered.

Every photo is compared with some twenty, at different times, by different chunks of a job: to read and decode its
thumbnail each time takes as long as a comparison. Safe to use from many threads.
"""

import functools
import io

from PIL import Image

from ml.images.copies import Appearance
from workers.errors import NotFound
from workers.gallery import Gallery

_MOST = 2_048  # of 13 kB


class Appearances:
    """Those of one worker process.

    Args:
        gallery: where thumbnails are. What is named after its content never changes.
    """

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        self._made = functools.lru_cache(_MOST)(self._make)

    def of(self, id: str) -> Appearance | None:
        """That of an image; None where its thumbnail is missing or damaged, which `verify` names."""
        try:
            return self._made(id)
        except (NotFound, OSError):  # not remembered: it may be there the next time
            return None

    def _make(self, id: str) -> Appearance:
        return Appearance(Image.open(io.BytesIO(self._gallery.thumbnail(id)), formats=["JPEG"]))
