"""One run from images to a bundle: what it leaves behind, how it goes on, and what stops it."""

import json
import math
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ml import images
from ml.data import datasets
from ml.data.datasets import BadDataset
from ml.data.seen_photos import SeenPhotos
from ml.errors import LookalikeError
from ml.model import bundle, embedder
from ml.model.network import from_bundle
from ml.model.verdict import HELD_OUT_GAIN, is_no_better
from ml.training import checkpoints, losses
from ml.training import train as training
from ml.training.checkpoints import TrainingFailed
from ml.training.config import PRESETS, TrainConfig, preset_config
from ml.training.features import Cache, Reader, project
from ml.tuning.gallery_head import CONFIRMED
from tests.ml.conftest import quick, write_image

_DECODED = Cache()


def train(*arguments, **options):
    """Trains on images that are decoded once for all of these tests: that is a third of such a short run."""
    return training.train(*arguments, **{"cache": _DECODED} | options)


@pytest.fixture(scope="module")
def trained(products, tmp_path_factory):
    """A quick run with a test set, and what it reported."""
    reports, steps = [], []
    rest, other = datasets.split_by_class(products, 0.25, seed=3)
    result = train(
        quick(),
        rest,
        tmp_path_factory.mktemp("runs"),
        test=other,
        cache=Cache(),
        on_epoch=reports.append,
        on_progress=lambda *step: steps.append(step),
    )
    return result, reports, steps


def test_a_run_ends_with_a_bundle_that_passes_its_own_proof(trained):
    result, _, _ = trained
    loaded = embedder.load(result.bundle.directory)
    assert loaded.dim == 32
    assert loaded.preprocessing.size_px == 64


def test_figures_of_held_out_classes_and_of_the_test_set_are_kept(trained):
    result, _, _ = trained
    kept = bundle.Bundle.load(result.bundle.directory)
    for key in ("held_out_map@r", "map@r", "recall@1", "median_rank"):
        assert 0 <= kept.metrics[key] == result.metrics[key]
    assert -1 < kept.threshold < 1


def test_lineage_tells_data_settings_and_code(trained, products):
    result, _, _ = trained
    lineage = result.bundle.lineage
    assert lineage["config"]["train_px"] == 64
    assert len(lineage["data"]["fingerprint"]) == 64
    assert lineage["seed"] == 0
    assert lineage["code"]["version"]
    assert set(lineage["held_out_classes"]) < set(products.classes)
    assert [entry["epoch"] for entry in lineage["history"]] == [1, 2]
    assert json.loads((result.run_dir / "config.json").read_text())["config"] == lineage["config"]


def test_progress_is_reported_by_phase_and_by_epoch(trained):
    _, reports, steps = trained
    assert [report.epoch for report in reports] == [1, 2]
    assert all(0 <= report.map_at_r <= 1 for report in reports)
    phases = [what for what, _, _ in steps]
    assert {"decoding", "reading features", "training", "embedding"} <= set(phases)
    assert all(0 < done <= total for _, done, total in steps)


def test_checkpoints_are_gone_when_the_model_is_there(trained):
    result, _, _ = trained
    assert not (result.run_dir / "checkpoints").exists()
    assert not (result.run_dir / "best").exists()


def test_training_evaluation_and_search_see_the_same_vector(trained, products):
    """The embedding by training's own network and by the embedder of index and search, to 1e-3."""
    result, _, _ = trained
    loaded = embedder.load(result.bundle.directory)
    decoded = [images.decode(path.read_bytes(), min_side=loaded.preprocessing.min_side) for path in products.paths[:8]]
    pixels = np.stack([loaded.preprocessing.apply(image) for image in decoded])
    model = from_bundle(result.bundle)
    with torch.no_grad():
        by_training = model(torch.from_numpy(pixels)).numpy()
    by_search = loaded.embed(decoded)
    cosines = (by_training * by_search).sum(1)  # the embedder takes bf16 where the mean stays above 0.999
    assert cosines.mean() > 1 - 1e-3 and cosines.min() > 1 - 5e-3
    reader = Reader(model, torch.device("cpu"), None, Cache(), "tested")
    by_reader = project(model, reader.features(pixels, "test")).numpy()
    assert float((by_reader * by_search).sum(1).min()) > 1 - 5e-3  # bf16


def test_the_same_seed_gives_the_same_model_and_another_one_another(products, tmp_path):
    first, again, other = (
        train(quick(epochs=1, seed=seed), products, tmp_path / name) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first.bundle.files["network.onnx"] == again.bundle.files["network.onnx"]
    assert first.bundle.files["network.onnx"] != other.bundle.files["network.onnx"]


def test_ctrl_c_keeps_the_checkpoint_and_resume_ends_where_the_whole_run_does(products, tmp_path):
    def interrupt(report):
        if report.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(quick(), products, tmp_path / "cut", on_epoch=interrupt)
    (kept,) = (tmp_path / "cut").glob("*/checkpoints")
    assert checkpoints.latest(kept).epoch == 1
    epochs = []
    resumed = train(
        quick(), products, tmp_path / "cut", resume=True, on_epoch=lambda report: epochs.append(report.epoch)
    )
    whole = train(quick(), products, tmp_path / "whole")
    assert epochs == [2]
    assert [report.epoch for report in resumed.history] == [1, 2]
    assert resumed.history[0].loss == whole.history[0].loss
    assert resumed.history[1].loss == pytest.approx(whole.history[1].loss, rel=1e-3)


def test_resuming_a_finished_run_gives_it_back(trained, products):
    result, _, _ = trained
    rest, _ = datasets.split_by_class(products, 0.25, seed=3)
    again = train(quick(), rest, result.run_dir.parent, resume=True)
    assert again.bundle.sha256 == result.bundle.sha256
    assert len(again.history) == 2


def test_fast_fits_a_head_on_the_untouched_network(products, tmp_path):
    result = train(preset_config("fast", test_px=64, dim=16, mirror=False), products, tmp_path)
    assert result.history == []
    assert result.bundle.dim == 16
    head = result.bundle.load_head()
    assert head.layer_norm and head.projection is not None and head.projection.bias is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "softmax", "images_per_class": 0},
        {"loss": "proxy_anchor"},
        {"loss": "triplet", "head": "linear"},
        {"head": "linear", "head_epochs": 1, "epochs": 2},
        {"head": "none", "keep_pretrained": 0.5},
        {"holdout": 0.0, "mirror": True},
    ],
)
def test_other_losses_and_heads_train_too(products, tmp_path, changes):
    result = train(quick(**({"epochs": 1} | changes)), products, tmp_path)
    assert np.isfinite(result.history[0].loss)
    assert result.bundle.dim == (1280 if changes.get("head") == "none" else 32)
    expected = "training classes" if changes.get("holdout") == 0 else "held-out classes"
    assert result.bundle.lineage["threshold_from"] == expected


def test_keep_pretrained_is_the_share_of_the_pretrained_weights(products, tmp_path):
    """WiSE-FT: (1 - share) of the fine-tuned weights and share of the pretrained ones."""

    def weights(share):
        config = quick(epochs=1, head="none", holdout=0.0, lr=1e-3, keep_pretrained=share)
        return load_file(train(config, products, tmp_path / str(share)).bundle.directory / bundle.WEIGHTS)

    tuned, a_quarter_back, three_quarters_back = (weights(share) for share in (0.0, 0.25, 0.75))
    name = "conv_head.weight"
    assert not torch.equal(tuned[name], a_quarter_back[name])
    torch.testing.assert_close(
        3 * (a_quarter_back[name] - tuned[name]), three_quarters_back[name] - tuned[name], rtol=1e-2, atol=1e-6
    )


def test_another_backbone_and_a_model_to_go_on_from(products, tmp_path, trained):
    result = train(quick(epochs=1, backbone=str(trained[0].bundle.directory)), products, tmp_path)
    assert result.bundle.backbone == "tf_efficientnet_lite0"


def test_a_test_set_that_overlaps_with_training_is_remarked_on(products, tmp_path):
    result = train(preset_config("fast", test_px=64, dim=16), products, tmp_path, test=products)
    assert any("test images are in the training data too" in line for line in result.remarks)


def test_an_image_saved_anew_in_the_test_set_is_remarked_on(products, tmp_path):
    for number, path in enumerate(products.paths[:12]):
        target = tmp_path / "test" / f"other-{number // 6}" / f"{number}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        images.decode(path.read_bytes()).save(target, quality=70)
    config = preset_config("fast", test_px=64, dim=16, holdout=0.0)
    result = train(config, products, tmp_path / "runs", test=datasets.load(tmp_path / "test"))
    assert any("look like copies of training images" in line for line in result.remarks)


def test_a_run_killed_while_it_was_measured_is_measured_when_resumed(products, tmp_path):
    config = preset_config("fast", test_px=64, dim=16)
    train(config, products, tmp_path)  # as far as the model is saved
    resumed = train(config, products, tmp_path, test=products, resume=True)
    assert "map@r" in resumed.metrics


def test_one_class_is_refused(tmp_path):
    for number in range(3):
        write_image(tmp_path / "data" / "only" / f"{number}.jpg", seed=number)
    with pytest.raises(BadDataset, match="one class"):
        train(quick(), datasets.load(tmp_path / "data"), tmp_path / "runs")


def test_a_learning_rate_that_explodes_says_so_and_keeps_the_last_good_checkpoint(products, tmp_path, monkeypatch):
    calls = []

    class Exploding(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, features, labels):
            calls.append(1)
            return (features.sum() * self.weight).mean() * (torch.nan if len(calls) > 1 else 1.0)

    monkeypatch.setattr(losses, "make", lambda *_, **__: Exploding())
    with pytest.raises(TrainingFailed, match="not a number"):
        train(quick(epochs=3), products, tmp_path)
    (kept,) = tmp_path.glob("*/checkpoints")
    assert checkpoints.latest(kept).epoch >= 1


def test_a_full_disk_at_the_end_is_said(products, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ml.training.train.save_bundle", full)
    with pytest.raises(TrainingFailed, match="the disk is full"):
        train(quick(epochs=1), products, tmp_path)
    (kept,) = tmp_path.glob("*/checkpoints")
    assert checkpoints.latest(kept).epoch == 1


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("lr", 0, "lr must be > 0, got 0"),
        ("lr", math.nan, "lr must be > 0, got nan"),
        ("clip_norm", 0, "clip_norm must be > 0, got 0"),
        ("weight_decay", -1, "weight_decay must be >= 0, got -1"),
        ("dim", 0, "dim must be >= 1, got 0"),
        ("holdout", 1, "holdout must be >= 0 and < 1, got 1"),
        ("train_px", 8, r"train_px must be in 32\.\.1024, got 8"),
        ("head", "x", "head must be one of closed_form, linear, none, got 'x'"),
        ("loss", "magic", "loss must be one of normsoftmax, .*, got 'magic'"),
    ],
)
def test_an_error_in_the_settings_names_what_is_allowed(name, value, message):
    with pytest.raises(LookalikeError, match=message) as refused:
        TrainConfig(**{name: value})
    assert refused.value.hint


def test_a_number_that_makes_no_sense_is_told_what_the_preset_has():
    for preset, name, value, usual in (("accurate", "lr", -1, "0.0001"), ("fast", "margin", 1, "0.125")):
        with pytest.raises(LookalikeError) as refused:
            preset_config(preset, **{name: value})
        assert refused.value.hint == f"it is {usual} unless it is given"


def test_presets_are_named():
    assert set(PRESETS) == {"fast", "accurate"}
    with pytest.raises(LookalikeError, match="preset must be one of accurate, fast, got 'best'"):
        preset_config("best")


def test_with_few_classes_images_are_held_out_and_the_head_sees_all_of_them(products, tmp_path):
    config = quick(epochs=0, split="auto", head="closed_form")
    lineage = train(config, products, tmp_path).bundle.lineage
    assert lineage["holdout"]["split"] == "images" and "8 classes" in lineage["holdout"]["why"]
    assert lineage["held_out_classes"] == [] and lineage["holdout"]["images"] == 16
    assert lineage["threshold_from"] == "held-out images"
    seen = SeenPhotos(lineage)
    assert all(content in seen for content in products.sha256)


def test_a_run_at_a_senseless_rate_is_known_to_be_no_better_than_untrained(products, tmp_path):
    found = train(quick(lr=100.0, head="none", holdout=0.5), products, tmp_path).metrics
    assert is_no_better(found)
    assert found["held_out_map@r"] < found["held_out_map@r_before"] and found["intervals"][HELD_OUT_GAIN][1] < 0


def test_rows_that_say_val_watch_the_training_and_give_the_threshold(products, tmp_path):
    is_val = np.arange(len(products)) % 6 < 2
    result = train(quick(epochs=1, head="none"), replace(products, held=is_val), tmp_path)
    assert result.bundle.lineage["holdout"] == {
        "split": "val",
        "why": "the table says which rows are val",
        "images": int(is_val.sum()),
    }
    assert 0 < result.metrics["held_out_map@r"] <= 1 and not math.isnan(result.history[0].map_at_r)
    low, high = result.metrics["intervals"]["held_out_map@r"]
    assert low <= result.metrics["held_out_map@r"] <= high


def test_notes_on_the_data_are_kept_with_run_and_model(products, tmp_path):
    doubled = products.subset([*range(len(products)), 0])
    result = train(quick(epochs=0, head="none"), doubled, tmp_path)
    note = "1 file is a copy of another"
    assert note in result.remarks and note in result.bundle.lineage["notes"]
    assert note in json.loads((result.run_dir / "config.json").read_text())["data"]["notes"]


def test_training_anew_sets_checkpoints_aside_instead_of_deleting_them(products, tmp_path):
    def interrupt(report):
        raise KeyboardInterrupt

    config = quick(epochs=2, head="none")
    with pytest.raises(KeyboardInterrupt):
        train(config, products, tmp_path, on_epoch=interrupt)
    anew = train(config, products, tmp_path)
    assert any("an unfinished run of 1 epochs was set aside" in remark for remark in anew.remarks)
    assert checkpoints.latest(tmp_path / f"{anew.run_dir.name}.1" / "checkpoints").epoch == 1


def test_the_same_training_twice_at_a_time_is_refused_and_the_first_one_goes_on(products, tmp_path):
    config, refusals = quick(head="none"), []

    def start_again(_report):
        for resume in (False, True):
            with pytest.raises(LookalikeError, match="under way already") as refused:
                train(config, products, tmp_path, resume=resume)
            refusals.append(refused.value.message)

    first = train(config, products, tmp_path, on_epoch=start_again)
    assert len(refusals) == 4 and all(first.run_dir.name in refusal for refusal in refusals)
    assert [report.epoch for report in first.history] == [1, 2]
    assert first.bundle.directory.is_dir() and not list(tmp_path.glob("*.1"))


def test_shared_images_are_copied_a_batch_at_a_time(products, tmp_path):
    """Trials of a sweep share one array in memory: a copy of what each trains on would multiply it."""

    class Watched(np.ndarray):
        taken: ClassVar[list[int]] = []

        def __getitem__(self, rows):
            part = super().__getitem__(rows)
            if isinstance(part, np.ndarray) and part.ndim == 4:
                self.taken.append(len(part))
            return part

    class SharedPixels(Cache):
        def pixels(self, data, preprocessing, on_progress):
            found = super().pixels(data, preprocessing, on_progress)
            return replace(found, array=found.array.view(Watched))

    twice = replace(
        products,
        paths=products.paths * 2,
        labels=np.tile(products.labels, 2),
        sha256=products.sha256 * 2,
    )
    train(quick(epochs=1), twice, tmp_path, cache=SharedPixels())
    assert len(twice) > 64 and 0 < max(Watched.taken) <= 64


def test_whether_the_gallerys_photos_would_help_is_tried_on_held_out_classes_and_noted(tmp_path):
    for label in range(8):
        for number in range(16):
            write_image(tmp_path / "data" / f"{label}" / f"{number}.jpg", seed=100 * label + number // 4)
    data = datasets.load(tmp_path / "data")
    cache = Cache()
    for name, changes in {"tried": {}, "left out": {"tune": False}}.items():
        config = preset_config("fast", train_px=64, test_px=64, dim=32, mirror=False, **changes)
        lineage = train(config, data, tmp_path / name, cache=cache).bundle.lineage
        assert (CONFIRMED in lineage) == (name == "tried")
        if name == "tried":
            assert lineage[CONFIRMED]["queries"] == 64  # every second photo of every class
            assert 0 <= lineage[CONFIRMED]["map@r_before"] <= 1 and lineage[CONFIRMED]["why"]
