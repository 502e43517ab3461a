"""The made-up products: as many as asked for, always the same, and worth learning from."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deploy import demo_photos
from deploy.demo_photos.real import real_or_drawn
from ml.errors import LookalikeError
from ml.evaluation import metrics
from ml.model import embedder
from ml.model.default import ensure_registered
from ml.model.registry import Registry


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """All 48 products, 3 views each."""
    return demo_photos.make(tmp_path_factory.mktemp("families"), views=3)


def test_it_draws_a_folder_for_each_product_and_a_file_for_each_view(tmp_path: Path) -> None:
    paths = demo_photos.make(tmp_path / "new", products=3, views=2, size_px=64)
    assert sorted(paths) == sorted((tmp_path / "new").rglob("*.*"))
    assert [path.name for path in paths] == [f"{p.parent.name}_{i:02d}.jpg" for p in paths[::2] for i in (1, 2)]
    assert len({path.parent for path in paths}) == 3


def test_all_classes_differ_and_read_like_products(families: list[Path]) -> None:
    names = [path.parent.name for path in families[::3]]
    assert len(set(names)) == 48
    assert "sunrise-mug" in names
    assert len({name.rsplit("-")[-1] for name in names[:12]}) == 12
    assert all(name.replace("-", "").isalpha() and name.islower() for name in names)


def test_the_same_seed_gives_the_same_bytes_and_a_smaller_set_is_part_of_a_larger_one(tmp_path: Path) -> None:
    few = demo_photos.make(tmp_path / "few", products=4, views=2, seed=5, size_px=96)
    many = demo_photos.make(tmp_path / "many", products=12, views=3, seed=5, size_px=96)
    contents = {path.name: path.read_bytes() for path in many}
    assert len(set(contents.values())) == 36
    assert all(contents[path.name] == path.read_bytes() for path in few)


def test_another_seed_gives_other_photos(tmp_path: Path) -> None:
    (one,) = demo_photos.make(tmp_path / "one", products=1, views=1, seed=1, size_px=64)
    (two,) = demo_photos.make(tmp_path / "two", products=1, views=1, seed=2, size_px=64)
    assert one.name == two.name
    assert one.read_bytes() != two.read_bytes()


@pytest.mark.parametrize("size_px", [16, 23, 101])
def test_photos_of_any_size_decode_and_carry_no_metadata(tmp_path: Path, size_px: int) -> None:
    for path in demo_photos.make(tmp_path, products=12, views=2, size_px=size_px):
        with Image.open(path) as photo:
            assert (photo.format, photo.mode, photo.size) == ("JPEG", "RGB", (size_px, size_px))
            assert not photo.getexif()
            assert "icc_profile" not in photo.info
            assert np.asarray(photo).std() > 5, f"{path.name} is blank"


@pytest.mark.parametrize("wrong", [{"products": 0}, {"products": 49}, {"views": 0}, {"size_px": 8}, {"seed": -1}])
def test_numbers_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        demo_photos.make(tmp_path, **wrong)
    assert not list(tmp_path.iterdir())


def test_the_untrained_model_finds_most_products_and_has_much_to_learn(families: list[Path], tmp_path: Path) -> None:
    registry = Registry((tmp_path / "models").as_uri())
    bundle = registry.fetch(ensure_registered(registry, tmp_path / "build"), tmp_path / "fetched")
    model = embedder.load(bundle, device="cpu", cache_dir=tmp_path / "cache")
    vectors = torch.as_tensor(model.embed([Image.open(path) for path in families]))
    products = torch.arange(len(families)) // 3
    kinds = sorted({path.parent.name.rsplit("-")[-1] for path in families})
    of_kind = torch.tensor([kinds.index(path.parent.name.rsplit("-")[-1]) for path in families])
    # Three views leave two right answers among 143, which is harder than the whole set.
    assert metrics.recall_at_k(vectors, products, [1])[1] > 0.6
    assert metrics.recall_at_k(vectors, of_kind, [1])[1] > 0.9
    assert metrics.mean_average_precision_at_r(vectors, products) < 0.8


class TestRealOrDrawn:
    @pytest.fixture
    def own(self, tmp_path, monkeypatch):
        """A person's folder: five classes of seven photos, one of a single photo, and a file that is none."""
        for name in "abcde":
            (tmp_path / "own" / name).mkdir(parents=True)
            for number in range(7):
                Image.new("RGB", (20, 20), (number, 0, 0)).save(tmp_path / "own" / name / f"{number}.png")
        (tmp_path / "own" / "single").mkdir()
        Image.new("RGB", (20, 20)).save(tmp_path / "own" / "single" / "0.png")
        (tmp_path / "own" / "a" / "notes.txt").write_text("none")
        monkeypatch.setenv("PHOTOS", str(tmp_path / "own"))

    def test_real_photos_are_spread_over_classes_and_over_each_class(self, own, tmp_path):
        photos = real_or_drawn(tmp_path / "set", classes=4, views=3, size_px=64)
        assert [str(photo.relative_to(tmp_path / "set")) for photo in photos[:3]] == ["a/0.png", "a/3.png", "a/6.png"]
        assert sorted({photo.parent.name for photo in photos}) == ["a", "b", "d", "e"]
        assert len(photos) == 12 and all(photo.is_file() for photo in photos)

    def test_too_few_classes_are_an_error_that_says_how_many_it_takes(self, own, tmp_path):
        with pytest.raises(LookalikeError, match="at least 4 folders of 8 photos or more, got 0"):
            real_or_drawn(tmp_path / "set", classes=4, views=8, size_px=64)

    def test_without_real_photos_they_are_drawn(self, monkeypatch, tmp_path):
        monkeypatch.delenv("PHOTOS", raising=False)
        monkeypatch.setattr("deploy.demo_photos.real.GROCERY", tmp_path / "nothing")
        photos = real_or_drawn(tmp_path / "set", classes=3, views=2, size_px=64)
        assert len(photos) == 6
        with Image.open(photos[0]) as photo:
            assert photo.size == (64, 64)
