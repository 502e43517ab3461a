"""Query photos travel beside the message and are not kept."""

import os

import pytest

from workers.queue import query_photos


def test_a_photo_arrives_byte_for_byte(queue):
    image = os.urandom(100_000)
    with query_photos.uploaded(queue, image, 5) as key:
        assert query_photos.fetch(queue, key) == image
        assert query_photos.fetch(queue, key) == image, "a task that runs again finds it again"


def test_it_is_gone_when_the_search_ends_however_it_ends(queue):
    with pytest.raises(ValueError, match="broken"), query_photos.uploaded(queue, b"x", 5) as key:
        raise ValueError("broken")
    assert queue.dbsize() == 0
    with pytest.raises(query_photos.PhotoGone):
        query_photos.fetch(queue, key)


def test_it_expires_when_the_portal_dies(queue):
    with query_photos.uploaded(queue, b"x", 30) as key:
        assert 30_000 <= queue.pttl(key) <= 31_000
