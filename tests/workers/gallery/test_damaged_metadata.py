"""Metadata that cannot be read: the image is still there, says so, and is made whole from its original."""

import json
from pathlib import Path

import pytest

from ml.records import Damaged
from ml.storage import LocalStorage
from tests.workers.gallery.samples import Log, metadata_of, original_of, photo
from workers.gallery import Gallery


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
