"""Photos that stay where their owner keeps them."""

import os
from pathlib import Path

import pytest

from ml.records import Damaged
from ml.storage import LocalStorage
from tests.workers.gallery.samples import Log, original_of, photo
from workers.gallery import Gallery


class TestInPlace:
    @pytest.fixture
    def gallery(self, tmp_path: Path, log: Log) -> Gallery:
        return Gallery(LocalStorage(tmp_path / "storage"), log=log)

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        file = tmp_path / os.fsdecode(b"caf\xe9.png")
        file.write_bytes(photo())
        return file

    @pytest.fixture
    def id(self, gallery: Gallery, file: Path) -> str:
        return gallery.add(file, path="cafe.png", label=None, in_place=True).id

    def test_the_photo_is_read_where_it_is_and_not_copied(self, gallery: Gallery, id: str) -> None:
        assert gallery.original(id) == photo()
        assert gallery.image(id).is_in_place
        assert list(gallery.originals.ids()) == []

    def test_one_that_was_only_touched_is_the_same(self, gallery: Gallery, file: Path, id: str) -> None:
        os.utime(file, (1, 1))
        assert gallery.image(id).state == "ok"
        assert gallery.original(id) == photo()

    @pytest.mark.parametrize("state", ["changed", "missing"])
    def test_one_that_changed_is_told_and_never_given_out(
        self, gallery: Gallery, file: Path, id: str, state: str, log: Log
    ) -> None:
        if state == "missing":
            file.unlink()
        else:
            file.write_bytes(photo("#fe0000"))  # as long
        assert gallery.image(id).state == gallery.find_many([id])[id].state == state
        with pytest.raises(Damaged, match="has changed" if state == "changed" else "is no longer there"):
            gallery.original(id)
        assert list(log.damaged) == [f"originals/{id[:2]}/{id}"]

    def test_a_file_that_moved_is_followed(self, gallery: Gallery, file: Path, id: str) -> None:
        moved = file.rename(file.with_name("moved.png"))
        gallery.add(moved, path=str(moved), label=None, in_place=True)
        assert gallery.image(id).state == "ok"
        assert gallery.original(id) == photo()

    def test_it_can_be_copied_later(self, gallery: Gallery, file: Path, id: str) -> None:
        gallery.add(file, path="cafe.png", label=None)
        file.unlink()
        assert gallery.original(id) == photo()
        assert not gallery.image(id).is_in_place

    def test_deleting_the_image_leaves_the_file(self, gallery: Gallery, file: Path, id: str) -> None:
        gallery.forget(id)
        gallery.sweep(id)
        assert file.read_bytes() == photo()

    def test_a_damaged_copy_gives_way_to_the_file(self, gallery: Gallery, file: Path, tmp_path: Path) -> None:
        id = gallery.add(file, path="cafe.png", label=None).id
        original_of(tmp_path, id).write_bytes(b"")
        gallery.add(file, path="cafe.png", label=None, in_place=True)
        assert gallery.original(id) == photo()
