"""Of several files with the same bytes, the first in order of their paths gives path and label."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ml.storage import LocalStorage
from tests.workers.gallery.samples import photo
from workers.gallery import Added, Gallery


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
