"""What is acknowledged is kept, once, whatever its name."""

import io
import itertools
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ml.images import Limits, UnreadableImage
from ml.records import Damaged
from ml.storage import LocalStorage, StorageFailed, open_storage
from workers.errors import NotFound
from workers.gallery import Added, Gallery, image_id


def photo(colour: str = "red", format: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(out, format)
    return out.getvalue()


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


def original_of(folder: Path, id: str) -> Path:
    return folder / "storage" / "originals" / id[:2] / id


def metadata_of(folder: Path, id: str) -> Path:
    return folder / "storage" / "metadata" / id[:2] / f"{id}.json"


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


class Log:
    """What was said to be damaged, and is not whole again."""

    def __init__(self) -> None:
        self.damaged: dict[str, str] = {}

    def found(self, damaged: Damaged) -> None:
        self.damaged[damaged.key] = damaged.message

    def mended(self, key: str) -> None:
        self.damaged.pop(key, None)

    def known(self) -> list[str]:
        return list(self.damaged)


@pytest.fixture
def log() -> Log:
    return Log()


class TestDamagedMetadata:
    @pytest.fixture
    def gallery(self, tmp_path: Path, log: Log) -> Gallery:
        return Gallery(LocalStorage(tmp_path / "storage"), log=log)

    @pytest.fixture(params=["empty", "cut short", "zeros", "no object", "flipped", "another's", "no width"])
    def id(self, request: pytest.FixtureRequest, gallery: Gallery, tmp_path: Path) -> str:
        id = gallery.add(photo(), path="/photos/lime/a.png", label="lime").id
        record = metadata_of(tmp_path, id)
        whole = record.read_bytes()
        other = json.loads(whole) | {"id": "f" * 32}
        no_width = {name: value for name, value in json.loads(whole).items() if name not in ("width", "checksum")}
        record.write_bytes(
            {
                "empty": b"",
                "cut short": whole[:70],
                "zeros": b"\0" * len(whole),
                "no object": b"[1, 2]",
                "flipped": whole.replace(b"lime", b"dime"),
                "another's": json.dumps(other).encode(),
                "no width": json.dumps(no_width).encode(),
            }[request.param]
        )
        return id

    def test_the_image_is_there_and_says_that_it_is_damaged(self, gallery: Gallery, id: str, log: Log) -> None:
        assert gallery.image(id).state == "damaged"
        assert {key: image.state for key, image in gallery.find_many([id]).items()} == {id: "damaged"}
        assert list(gallery.ids()) == [id]
        assert list(log.damaged) == [f"metadata/{id[:2]}/{id}.json"]
        assert gallery.original(id) == photo()

    def test_it_can_be_deleted(self, gallery: Gallery, id: str, log: Log) -> None:
        gallery.forget(id)
        gallery.sweep(id)
        assert list(gallery.ids()) == list(gallery.originals.ids()) == list(log.damaged) == []

    def test_a_label_is_refused_as_the_rest_would_be_lost(self, gallery: Gallery, id: str) -> None:
        with pytest.raises(Damaged):
            gallery.set_label(id, "orange")

    def test_it_is_rebuilt_from_the_original(self, gallery: Gallery, id: str, log: Log) -> None:
        gallery.image(id)
        image = gallery.rebuild(id, path="/photos/lime/a.png", label="lime")
        assert gallery.image(id) == image
        assert (image.name, image.label, image.width, image.format) == ("a.png", "lime", 40, "PNG")
        assert not log.damaged

    def test_adding_the_file_again_rebuilds_it(self, gallery: Gallery, id: str, log: Log) -> None:
        gallery.image(id)
        gallery.add(photo(), path="/photos/lime/a.png", label="lime")
        assert gallery.image(id).state == "ok"
        assert not log.damaged

    def test_without_an_original_nothing_is_made_up(self, gallery: Gallery, id: str, tmp_path: Path) -> None:
        original_of(tmp_path, id).unlink()
        with pytest.raises(Damaged, match="and the original is missing"):
            gallery.rebuild(id, path="/photos/lime/a.png", label="lime")


class TestTwoFilesWithOnePhoto:
    @pytest.fixture
    def gallery(self, tmp_path: Path) -> Gallery:
        return Gallery(LocalStorage(tmp_path / "storage"))

    @pytest.fixture
    def files(self, tmp_path: Path) -> list[Path]:
        files = [tmp_path / "photos" / folder / "1.png" for folder in ("apples", "apples-b", "pears")]
        for file in files:
            file.parent.mkdir(parents=True)
            file.write_bytes(photo())
        return files

    @staticmethod
    def add(gallery: Gallery, file: Path, **options: bool) -> Added:
        return gallery.add(file, path=str(file), label=file.parent.name, **options)

    @pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
    def test_the_first_in_order_of_paths_gives_path_and_label(
        self, gallery: Gallery, files: list[Path], order: tuple[int, ...]
    ) -> None:
        for n in order:
            added = self.add(gallery, files[n])
        image = gallery.image(added.id)
        assert (image.path, image.label) == (str(files[0]), "apples")
        again = [self.add(gallery, files[n]) for n in order]
        assert not any(each.is_changed for each in again)
        assert {each.other_path for each in again} == {"", *map(str, files[1:])}

    def test_threads_agree(self, gallery: Gallery, files: list[Path]) -> None:
        with ThreadPoolExecutor(4) as readers:
            added = list(readers.map(lambda file: self.add(gallery, file), files * 8))
        assert gallery.image(added[0].id).label == "apples"

    def test_the_label_that_a_person_gave_stays(self, gallery: Gallery, files: list[Path]) -> None:
        id = self.add(gallery, files[1]).id
        gallery.set_label(id, "fruit")
        self.add(gallery, files[0])
        assert (gallery.image(id).path, gallery.image(id).label) == (str(files[0]), "fruit")

    @pytest.mark.parametrize("label, after", [("fruit", "fruit"), (None, "quinces")])
    def test_path_and_label_follow_a_folder_that_was_renamed(
        self, gallery: Gallery, files: list[Path], label: str | None, after: str
    ) -> None:
        id = self.add(gallery, files[2]).id
        if label:
            gallery.set_label(id, label)
        moved = files[2].parent.rename(files[2].parent.with_name("quinces")) / "1.png"
        assert self.add(gallery, moved).is_changed
        assert (gallery.image(id).path, gallery.image(id).name) == (str(moved), "1.png")
        assert gallery.image(id).label == after
        assert not self.add(gallery, moved).is_changed

    def test_a_label_that_comes_while_the_file_is_added_again_is_kept(
        self, gallery: Gallery, files: list[Path], tmp_path: Path
    ) -> None:
        """The portal and an indexing command are two processes."""
        id = self.add(gallery, files[0]).id
        portal = Gallery(LocalStorage(tmp_path / "storage"))
        with ThreadPoolExecutor(2) as both:
            for n in range(30):
                label = both.submit(portal.set_label, id, f"by hand {n}")
                both.submit(gallery.add, files[0], path=str(files[0]), label=f"folder {n}")
                label.result()
        assert gallery.image(id).label == "by hand 29"


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


@given(name=st.text(max_size=80), label=st.none() | st.text(max_size=80))
def test_names_and_labels_are_data(name: str, label: str | None) -> None:
    gallery = Gallery(open_storage("memory://names"))
    name, label = (None if text is None else text.encode("utf-8", "replace").decode() for text in (name, label))
    data = photo(format="BMP") + os.urandom(8)  # what follows the pixels of a BMP is ignored
    image = gallery.image(gallery.add(data, path=name or "", label=label).id)
    assert (image.path, image.label) == (name, label)
