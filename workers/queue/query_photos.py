"""Out-of-band transport of query photos (claim-check pattern): the message carries a key, Redis the bytes.

A broker copies every message several times, as base64 in JSON in base64, and writes it down once more until it is
acknowledged. A photo of 12 megapixels and 3.5 MB waited 160 ms that way, and 2 ms this way (two cores;
benchmarks/portal_search.py).
"""

import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

import redis
from redis.client import NEVER_DECODE

from ml.errors import LookalikeError


class PhotoGone(LookalikeError):
    """The photo waited longer than whoever sent it."""


@contextlib.contextmanager
def uploaded(server: Any, image: bytes, timeout_s: float) -> Iterator[str]:
    """Keeps a photo in Redis for the time of the block, never longer than the timeout and a second. Yields its key."""
    key = f"lookalike:photo:{uuid.uuid4().hex}"
    server.set(key, image, px=round(1000 * timeout_s) + 1000)
    try:
        yield key
    finally:
        with contextlib.suppress(redis.RedisError):  # It expires by itself.
            server.unlink(key)


def fetch(server: Any, key: str) -> bytes:
    """The photo.

    Raises:
        PhotoGone: nobody waits for it any more.
    """
    image = server.execute_command("GET", key, **{NEVER_DECODE: True})
    if image is None:
        raise PhotoGone("the photo waited too long", hint="search again")
    return bytes(image)
