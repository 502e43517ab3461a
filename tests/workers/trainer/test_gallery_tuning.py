"""The end of a training: the head is fitted to the gallery where that was confirmed, and the model says so."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ml.data import datasets
from ml.data.datasets import Dataset
from ml.data.seen_photos import packed
from ml.evaluation.evaluate import evaluate
from ml.model.bundle import Bundle
from ml.model.default import provide
from ml.model.writer import replace_head
from ml.tuning.gallery_head import CONFIRMED, Scheme
from ml.tuning.left_out import AsNew
from ml.tuning.taught import TAUGHT, TAUGHT_BEFORE
from tests.ml.conftest import write_image
from workers import settings as settings_module
from workers.gallery import Gallery
from workers.settings import Settings
from workers.trainer import data, gallery_tuning

PHOTOS = 32


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def bundle(home: Path) -> Bundle:
    """A model whose training confirmed that photos help."""
    plain = Bundle.load(provide(home / "work", home / "compiled"))
    lineage = {"config": {}, CONFIRMED: {"scheme": Scheme(2.0, 10, 3).to_json(), "why": "held-out classes gain by it"}}
    return replace_head(plain, plain.load_head(), home / "trained", name="trained", lineage=lineage)


@pytest.fixture(scope="module")
def settings(home: Path) -> Settings:
    """A gallery of photos without labels."""
    found = replace(settings_module.load(), home=home / "system", storage="", device="cpu")
    gallery = Gallery.open(found)
    for number in range(PHOTOS):
        path = write_image(home / "photos" / str(number % 4) / f"{number}.jpg", seed=number)
        gallery.add(path, path=path.name, label=None)
    return found


def tuned(bundle: Bundle, photos: Dataset | None, home: Path, said: list[str]) -> Bundle | None:
    return gallery_tuning.tuned_to(
        bundle,
        photos,
        home / f"tuned-{len(list(home.iterdir()))}",
        device="cpu",
        cache_dir=home / "compiled",
        on_progress=None,
        say=said.append,
    )


def test_the_head_follows_the_gallery_and_figures_of_its_photos_are_marked(
    bundle: Bundle, settings: Settings, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery_tuning, "views_for", lambda _: 3)  # of so few photos it would be sixteen each
    photos = data.unlabelled(settings, 1000)
    assert photos is not None
    made = tuned(bundle, photos, home, [])
    assert made is not None and made.name == "trained"
    facts = made.lineage["tuning"]
    assert facts["photos"] == PHOTOS and facts["neighbours"] == 3 and facts["views"] == 3 * PHOTOS
    assert made.threshold is None
    as_new = AsNew.load(made)
    assert as_new is not None and len(as_new.photos) == PHOTOS and as_new.similarities.shape == (PHOTOS, PHOTOS)
    assert set(as_new.photos) == {content[:16] for content in photos.sha256}
    (map_,) = made.load_head().tuning
    assert np.isfinite(map_.weight).all()
    same = evaluate(made.directory, datasets.load(home / "photos"), device="cpu", cache_dir=home / "compiled")
    assert any(note.startswith(f"transductive: the head of trained was fitted to {PHOTOS} of") for note in same.notes)


def test_it_is_left_as_it_is_where_nothing_was_confirmed_or_there_are_too_few_photos(
    bundle: Bundle, settings: Settings, home: Path
) -> None:
    said: list[str] = []
    assert tuned(bundle, data.unlabelled(settings, 20), home, said) is None
    assert said[-1].startswith("once 30 photos are indexed, lookalike tune fits the head to them")
    assert tuned(bundle, None, home, said) is None
    lost = replace_head(
        bundle, bundle.load_head(), home / "lost", name="lost", lineage={CONFIRMED: {"scheme": None, "why": "it loses"}}
    )
    assert tuned(lost, data.unlabelled(settings, 1000), home, said) is None
    assert said[-1] == "the head stays as labels taught it: it loses"
    everything = data.unlabelled(settings, 1000)
    assert everything is not None
    taught = {"data": {"photos": packed(everything.sha256)}}
    taught |= {CONFIRMED: bundle.lineage[CONFIRMED] | {TAUGHT_BEFORE: 0.96, TAUGHT: 0.9}}
    own = replace_head(bundle, bundle.load_head(), home / "own", name="own", lineage=taught)
    assert tuned(own, everything, home, said) is None
    assert said.pop().startswith("the head stays as labels taught it: 100 % of the gallery's photos taught the model")
    unasked = replace_head(bundle, bundle.load_head(), home / "unasked", name="unasked")
    assert tuned(unasked, data.unlabelled(settings, 1000), home, said) is None and len(said) == 3


def test_a_gallery_without_photos_has_none_to_give(home: Path) -> None:
    empty = replace(settings_module.load(), home=home / "empty", storage="")
    assert data.unlabelled(empty, 10) is None
