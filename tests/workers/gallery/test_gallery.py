"""What is acknowledged is kept, once, whatever its name."""

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.images import Limits, UnreadableImage
from ml.records import Damaged
from ml.storage import LocalStorage, StorageFailed, open_storage
from tests.workers.gallery.samples import original_of, photo
from workers.errors import NotFound
from workers.gallery import Gallery, image_id


@pytest.fixture(params=["file", "memory"])
def gallery(request: pytest.FixtureRequest, tmp_path: Path) -> Gallery:
    url = f"file://{tmp_path}/storage" if request.param == "file" else f"memory://{tmp_path.name}-{id(request)}"
    return Gallery(open_storage(url))


class TestGallery:
    def test_an_image_is_kept_with_what_is_known_of_it(self, gallery: Gallery) -> None:
        added = gallery.add(photo(), path="holiday/beach.png", label="beach")
        assert added.is_new
        image = gallery.image(added.id)
        assert (image.name, image.path, image.label) == ("beach.png", "holiday/beach.png", "beach")
        assert (image.width, image.height, image.format) == (40, 30, "PNG")
        assert gallery.original(added.id) == photo()
        assert gallery.is_intact(added.id)

    def test_the_same_bytes_are_kept_once(self, gallery: Gallery) -> None:
        first = gallery.add(photo(), path="a.png", label=None)
        second = gallery.add(photo(), path="b.png", label=None)
        assert (first.id, second.is_new) == (second.id, False)
        assert list(gallery.ids()) == [first.id]
        assert gallery.image(first.id).path == "a.png"

    def test_the_id_comes_from_the_content(self, gallery: Gallery) -> None:
        assert gallery.add(photo(), path="a.png", label=None).id == image_id(photo())

    def test_a_folders_name_does_not_replace_a_label_that_a_person_gave(self, gallery: Gallery) -> None:
        id = gallery.add(photo(), path="a.png", label="folder").id
        gallery.set_label(id, "by hand")
        gallery.add(photo(), path="a.png", label="folder")
        assert gallery.image(id).label == "by hand"
        gallery.add(photo(), path="a.png", label="on purpose", by_person=True)
        assert gallery.image(id).label == "on purpose"

    def test_another_folder_gives_another_label(self, gallery: Gallery) -> None:
        id = gallery.add(photo(), path="a.png", label="old").id
        gallery.add(photo(), path="a.png", label="new")
        assert gallery.image(id).label == "new"
        gallery.add(photo(), path="a.png", label=None)
        assert gallery.image(id).label == "new"

    def test_what_is_forgotten_does_not_exist(self, gallery: Gallery) -> None:
        id = gallery.add(photo(), path="a.png", label=None).id
        gallery.put_thumbnails({id: b"jpeg"})
        gallery.forget(id)
        with pytest.raises(NotFound):
            gallery.image(id)
        gallery.sweep(id)
        for read in (gallery.original, gallery.thumbnail):
            with pytest.raises(NotFound):
                read(id)

    def test_what_still_exists_is_not_swept(self, gallery: Gallery) -> None:
        id = gallery.add(photo(), path="a.png", label=None).id
        gallery.sweep(id)
        assert gallery.original(id) == photo()

    def test_what_is_no_image_is_refused_and_not_kept(self, gallery: Gallery) -> None:
        with pytest.raises(UnreadableImage):
            gallery.add(b"hello", path="a.jpg", label=None)
        assert list(gallery.ids()) == []
        assert list(gallery.originals.ids()) == []

    @pytest.mark.parametrize("id", ["../../etc/passwd", "a" * 31, "A" * 32, "", "a" * 30 + "/x", "\x00" * 32])
    def test_an_id_is_never_a_path(self, gallery: Gallery, id: str) -> None:
        for read in (gallery.image, gallery.original, gallery.thumbnail):
            with pytest.raises(NotFound):
                read(id)

    def test_ids_can_be_listed_by_their_first_two_digits(self, gallery: Gallery) -> None:
        ids = [gallery.add(photo(f"#{n:06x}"), path="a.png", label=None).id for n in range(20)]
        prefix = ids[0][:2]
        assert list(gallery.ids(prefix)) == sorted(id for id in ids if id.startswith(prefix))
        assert list(gallery.ids()) == sorted(ids)

    def test_many_are_found_at_once(self, gallery: Gallery) -> None:
        ids = [gallery.add(photo(f"#{n:06x}"), path=f"{n}.png", label=None).id for n in range(8)]
        found = gallery.find_many([*ids, "f" * 32])
        assert {id: image.path for id, image in found.items()} == {id: f"{n}.png" for n, id in enumerate(ids)}


class TestLocalFiles:
    @pytest.fixture
    def gallery(self, tmp_path: Path) -> Gallery:
        return Gallery(LocalStorage(tmp_path / "storage"), Limits(max_bytes=10_000))

    def test_a_file_that_is_edited_in_place_leaves_the_original_alone(self, gallery: Gallery, tmp_path: Path) -> None:
        source = tmp_path / "a.png"
        source.write_bytes(photo())
        id = gallery.add(source, path=str(source), label=None).id
        source.write_bytes(photo("blue"))
        assert gallery.original(id) == photo()
        other = gallery.add(source, path=str(source), label=None)
        assert other.is_new and other.id != id
        source.unlink()
        assert (gallery.original(id), gallery.original(other.id)) == (photo(), photo("blue"))

    def test_another_photo_is_never_given_out_for_the_original(self, gallery: Gallery, tmp_path: Path) -> None:
        id = gallery.add(photo(), path="a.png", label=None).id
        original_of(tmp_path, id).write_bytes(photo("blue"))
        with pytest.raises(Damaged, match="is damaged"):
            gallery.original(id)
        original_of(tmp_path, id).unlink()
        with pytest.raises(Damaged, match="is missing"):
            gallery.original(id)
        assert not gallery.is_intact(id)

    @pytest.mark.parametrize("damage", ["flipped", "cut short", "gone"])
    def test_adding_the_file_again_heals_the_original(self, gallery: Gallery, tmp_path: Path, damage: str) -> None:
        id = gallery.add(photo(), path="a.png", label=None).id
        kept = original_of(tmp_path, id)
        if damage == "gone":
            kept.unlink()
        else:
            kept.write_bytes(photo()[:40] if damage == "cut short" else photo()[:-9] + b"?" + photo()[-8:])
        assert not gallery.add(photo(), path="a.png", label=None).is_new
        assert gallery.original(id) == photo()

    def test_an_original_that_an_earlier_version_linked_becomes_a_copy(self, gallery: Gallery, tmp_path: Path) -> None:
        source = tmp_path / "a.png"
        source.write_bytes(photo())
        id = gallery.add(source, path=str(source), label=None).id
        original_of(tmp_path, id).unlink()
        original_of(tmp_path, id).hardlink_to(source)
        assert gallery.originals.is_linked(id)
        gallery.add(source, path=str(source), label=None)
        assert not gallery.originals.is_linked(id)
        with source.open("r+b") as file:
            file.write(b"JUNK")
        assert gallery.original(id) == photo()

    def test_a_file_over_the_limit_is_refused_unread(self, gallery: Gallery, tmp_path: Path) -> None:
        source = tmp_path / "a.png"
        with source.open("wb") as file:
            file.truncate(50_000_000)
        with pytest.raises(UnreadableImage, match="the limit is"):
            gallery.add(source, path="a.png", label=None)

    def test_a_file_that_cannot_be_read_is_refused(self, gallery: Gallery, tmp_path: Path) -> None:
        with pytest.raises(UnreadableImage, match="cannot be read"):
            gallery.add(tmp_path / "gone.png", path="gone.png", label=None)

    def test_an_interrupted_write_leaves_nothing_that_is_read(self, gallery: Gallery, tmp_path: Path) -> None:
        id = gallery.add(photo(), path="a.png", label=None).id
        folder = tmp_path / "storage" / "metadata" / id[:2]
        (folder / ".half-written").write_bytes(b"{")
        assert list(gallery.ids()) == [id]

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_a_storage_that_refuses_is_an_error_that_says_so(self, gallery: Gallery, tmp_path: Path) -> None:
        (tmp_path / "storage").mkdir()
        (tmp_path / "storage").chmod(0o500)
        with pytest.raises(StorageFailed, match="cannot write"):
            gallery.add(photo(), path="a.png", label=None)

    def test_threads_that_add_the_same_image_agree(self, gallery: Gallery) -> None:
        ids: list[str] = []
        threads = [
            threading.Thread(target=lambda: ids.append(gallery.add(photo(), path="a.png", label="x").id))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(ids) == {image_id(photo())}
        assert len(ids) == 8


@given(name=st.text(max_size=80), label=st.none() | st.text(max_size=80))
def test_names_and_labels_are_data(name: str, label: str | None) -> None:
    gallery = Gallery(open_storage("memory://names"))
    name, label = (None if text is None else text.encode("utf-8", "replace").decode() for text in (name, label))
    data = photo(format="BMP") + os.urandom(8)  # what follows the pixels of a BMP is ignored
    image = gallery.image(gallery.add(data, path=name or "", label=label).id)
    assert (image.path, image.label) == (name, label)
