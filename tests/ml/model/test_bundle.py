"""A model on disk: what it must hold, what damage it notices, and what preprocessing does to an image."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ml.errors import BadBundle
from ml.model.bundle import Bundle
from ml.model.network import EmbeddingModel, from_bundle
from ml.model.save import save_bundle
from ml.preprocessing import Preprocessing

TINY = Preprocessing(32, 40, "squash", "bicubic", (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), False)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = EmbeddingModel("resnet10t", TINY, dim=16, layer_norm=True)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_bundle(model, folder, name="tiny", metrics={"map@r": 0.5}, lineage={"data": "none"}, threshold=0.7)
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def edit(folder: Path, **changes: object) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_what_was_saved_comes_back(saved):
    bundle = Bundle.load(saved)
    assert (bundle.name, bundle.backbone, bundle.dim, bundle.threshold) == ("tiny", "resnet10t", 16, 0.7)
    assert bundle.preprocessing == TINY
    assert (bundle.metrics, bundle.lineage) == ({"map@r": 0.5}, {"data": "none"})
    assert sorted(path.name for path in saved.iterdir()) == [
        "backbone.safetensors", "golden.jpg", "golden.safetensors", "head.safetensors", "model.json", "network.onnx",
    ]  # fmt: skip


def test_the_golden_vector_comes_out_again(saved):
    bundle = Bundle.load(saved)
    pixels, from_image, vector = bundle.golden()
    with torch.inference_mode():
        embeddings = from_bundle(bundle)(torch.from_numpy(np.stack([pixels, from_image]))).numpy()
    np.testing.assert_allclose(embeddings[0], vector, atol=1e-5)
    bundle.check_golden(embeddings, "f32")


def test_a_vector_that_differs_more_than_the_precision_rounds_is_refused(saved):
    bundle = Bundle.load(saved)
    vector = bundle.golden()[2]
    noise = np.random.default_rng(0).normal(size=vector.shape)
    noise -= (noise @ vector) * vector
    tilted = vector * 0.998 + noise / np.linalg.norm(noise) * np.sqrt(1 - 0.998**2)
    bundle.check_golden(np.stack([tilted, tilted]), "bf16")
    with pytest.raises(BadBundle, match="gives another vector"):
        bundle.check_golden(np.stack([tilted, tilted]), "f32")


@pytest.mark.parametrize(
    "file", ["network.onnx", "backbone.safetensors", "head.safetensors", "golden.jpg", "golden.safetensors"]
)
@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_missing_or_changed_file_is_noticed(copy, file, damage):
    path = copy / file
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink() if damage == "missing" else path.write_bytes(content)
    with pytest.raises(BadBundle, match="is missing or not what was saved"):
        Bundle.load(copy)


@pytest.mark.parametrize("field", [*TINY.to_json()])
def test_a_missing_field_of_the_preprocessing_is_an_error_and_never_a_default(copy, field):
    preprocessing = TINY.to_json()
    del preprocessing[field]
    edit(copy, preprocessing=preprocessing)
    with pytest.raises(BadBundle, match=f"the preprocessing of the model lacks {field}"):
        Bundle.load(copy)


@pytest.mark.parametrize(
    "changes",
    [
        {"size_px": 0}, {"size_px": "large"}, {"resize_px": 16}, {"fit": "stretch"}, {"interpolation": "nearest"},
        {"mean": [0.5]}, {"mean": None}, {"std": [0, 1, 1]}, {"crop": 1},
    ],
)  # fmt: skip
def test_senseless_preprocessing_is_refused(changes):
    with pytest.raises(BadBundle):
        Preprocessing.from_json(TINY.to_json() | changes)


@pytest.mark.parametrize("field", ["name", "backbone", "dim", "head", "preprocessing", "threshold", "files"])
def test_a_missing_fact_is_named(copy, field):
    path = copy / "model.json"
    facts = json.loads(path.read_text())
    del facts[field]
    path.write_text(json.dumps(facts))
    with pytest.raises(BadBundle, match=f"lacks '{field}'"):
        Bundle.load(copy)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99}', "\x00"])
def test_a_strange_model_json_is_refused(copy, text):
    (copy / "model.json").write_text(text)
    with pytest.raises(BadBundle):
        Bundle.load(copy)


def test_weights_that_fit_another_head_are_refused(copy):
    edit(copy, dim=17)
    with pytest.raises(BadBundle, match="claims 17 dimensions and has 16"):
        from_bundle(Bundle.load(copy))
    with pytest.raises(BadBundle, match="claims 17 dimensions and has 16"):
        Bundle.load(copy).load_head()


def test_weights_of_another_backbone_are_refused(copy):
    edit(copy, backbone="resnet14t")
    with pytest.raises(BadBundle, match="do not fit resnet14t"):
        from_bundle(Bundle.load(copy))


def test_the_content_names_a_bundle_and_not_its_metrics(copy, saved):
    edit(copy, metrics={"map@r": 0.9}, name="other")
    assert Bundle.load(copy).sha256 == Bundle.load(saved).sha256
    edit(copy, preprocessing=TINY.to_json() | {"mirror": True})
    assert Bundle.load(copy).sha256 != Bundle.load(saved).sha256


def test_saving_replaces_a_bundle_and_nothing_else(saved, tmp_path):
    model = from_bundle(Bundle.load(saved))
    save_bundle(model, tmp_path / "model", name="one")
    assert save_bundle(model, tmp_path / "model", name="two").name == "two"
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    with pytest.raises(BadBundle, match="holds no model"):
        save_bundle(model, tmp_path / "photos", name="three")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "photos"]


def test_a_failed_save_leaves_nothing_behind(saved, tmp_path, monkeypatch):
    model = from_bundle(Bundle.load(saved))
    monkeypatch.setattr("ml.model.writer.golden_jpeg", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_bundle(model, tmp_path / "model", name="one")
    assert not list(tmp_path.iterdir())


def test_a_failed_save_leaves_the_model_that_stood_there(saved, tmp_path, monkeypatch):
    model = from_bundle(Bundle.load(saved))
    save_bundle(model, tmp_path / "model", name="one")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ml.files.sync", full)  # the last step before the new one takes its place
    with pytest.raises(OSError, match="No space left"):
        save_bundle(model, tmp_path / "model", name="two")
    assert Bundle.load(tmp_path / "model").name == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from(["crop", "squash", "pad"]), st.integers(32, 48))
def test_any_image_becomes_the_square_that_the_model_sees(width, height, fit, resize_px):
    preprocessing = Preprocessing(**(TINY.to_json() | {"fit": fit, "resize_px": resize_px}))
    pixels = preprocessing.apply(Image.new("RGB", (width, height), (10, 200, 30)))
    assert pixels.shape == (32, 32, 3) and pixels.dtype == np.uint8
    if fit != "pad":
        assert np.ptp(pixels, axis=(0, 1)).max() <= 1


@pytest.mark.parametrize("size", [(4000, 8), (8, 4000), (1, 1)])
@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
def test_extreme_images_cost_nothing(size, fit):
    preprocessing = Preprocessing(**(TINY.to_json() | {"fit": fit}))
    assert preprocessing.apply(Image.new("RGB", size)).shape == (32, 32, 3)


def test_fits_differ_in_what_they_show():
    marked = Image.new("RGB", (200, 100), "white")
    marked.paste("black", (0, 0, 40, 100))  # the left fifth
    seen = {}
    for fit in ("crop", "squash", "pad"):
        preprocessing = Preprocessing(**(TINY.to_json() | {"fit": fit, "resize_px": 32}))
        seen[fit] = (preprocessing.apply(marked)[16, :, 0] < 60).mean()
    assert seen["crop"] == 0  # the middle square starts behind it
    assert seen["squash"] == pytest.approx(0.2, abs=0.05) == seen["pad"]


def test_it_scales_as_pillow_scales_the_whole():
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    whole = np.asarray(image.resize((40, 40), Image.Resampling.BICUBIC), np.float32)[4:36, 4:36]
    assert np.abs(TINY.apply(image) - whole).max() <= 2


def test_it_needs_no_torch():
    code = "import ml.model.bundle, sys; sys.exit(bool({'torch', 'timm'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3]).returncode == 0


def test_a_decoding_that_serves_for_a_thumbnail_too_gives_the_same_pixels():
    from workers.tasks.reconcile import THUMBNAIL_PX

    assert TINY.min_side >= THUMBNAIL_PX
    assert Preprocessing(**(TINY.to_json() | {"resize_px": 400})).min_side == 400
