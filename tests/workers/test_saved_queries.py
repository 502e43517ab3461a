"""Saved queries: kept, removed, and brought back."""

import time
from pathlib import Path

import pytest

from ml.storage import Storage, open_storage
from workers import saved_queries
from workers.errors import NotFound
from workers.gallery import image_id
from workers.saved_queries import SavedQueries

IMAGE = "ab" * 16


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(f"file://{tmp_path}")


@pytest.fixture
def queries(storage: Storage) -> SavedQueries:
    return SavedQueries(storage)


def test_a_query_that_was_removed_comes_back_as_it_was(queries: SavedQueries) -> None:
    kept = [queries.keep_image(IMAGE, "cherry.jpg"), queries.keep_photo(b"a photo", "mine.jpg")]
    for each in kept:
        queries.forget(each.id)
    assert queries.all() == []
    with pytest.raises(NotFound):
        queries.photo(image_id(b"a photo"))
    with pytest.raises(NotFound):
        queries.forget(IMAGE)
    assert [queries.restore(each.id) for each in kept] == kept
    assert queries.photo(image_id(b"a photo")) == b"a photo"
    with pytest.raises(NotFound, match="to bring back"):
        queries.restore(IMAGE)


def test_after_a_day_a_removed_query_is_gone_for_good(
    queries: SavedQueries, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = queries.keep_photo(b"old", "old.jpg"), queries.keep_image(IMAGE, "new.jpg")
    queries.forget(old.id)
    tomorrow = time.time() + 24 * 3600 + 1
    monkeypatch.setattr(saved_queries.time, "time", lambda: tomorrow)  # type: ignore[attr-defined]
    queries.forget(new.id)
    assert [key for key in storage.keys(saved_queries.REMOVED) if old.id in key] == []
    with pytest.raises(NotFound):
        queries.restore(old.id)
    assert queries.restore(new.id) == new
