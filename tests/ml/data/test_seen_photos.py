"""A model knows which photos it was trained on."""

import hashlib

from ml.data.seen_photos import SeenPhotos, packed


def test_photos_are_known_by_their_hash_and_by_their_id():
    hashes = [hashlib.sha256(bytes([n])).hexdigest() for n in range(100)]
    seen = SeenPhotos({"data": {"photos": packed(hashes[:50])}})
    assert seen.is_known
    assert [content in seen for content in hashes] == [True] * 50 + [False] * 50
    assert hashes[0][:32] in seen
    assert len(packed(hashes[:50])) < 50 * 11


def test_a_model_from_before_says_nothing():
    assert not SeenPhotos({}).is_known
    assert not SeenPhotos({"data": {"name": "photos"}}).is_known
