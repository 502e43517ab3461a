"""Losses, miners, augmentations and backbones by import path, and who may name them."""

import os
from pathlib import Path

import numpy as np
import pytest

from ml.data.datasets import Dataset
from ml.errors import BadBundle, LookalikeError
from ml.import_path import found_in, is_import_path
from ml.model import embedder
from ml.model.network import from_bundle
from ml.training import losses
from ml.training.config import TrainConfig, preset_config
from ml.training.runs import Run
from ml.training.train import train
from tests.ml.conftest import quick
from tests.ml.training import own_code

OWN = "tests.ml.training.own_code"


@pytest.fixture(autouse=True)
def made():
    own_code.made.clear()
    return own_code.made


def test_a_run_with_code_of_ones_own_gives_a_model_that_serves_without_it(products, tmp_path, made):
    config = quick(
        backbone=f"{OWN}:backbone", loss=f"{OWN}:Loss", head="linear", augmentation_class=f"{OWN}:Greyed", epochs=1
    )
    result = train(config, products, tmp_path)
    assert {"backbone 64", "loss 6 32", "varied (32, 16)"} <= set(made)
    made.clear()
    loaded = embedder.load(result.bundle.directory, device="cpu")
    assert loaded.embed_arrays(np.zeros((2, 64, 64, 3), np.uint8)).shape == (2, 32)
    with pytest.raises(BadBundle, match=r"is code .*, which no model on disk may run"):
        from_bundle(result.bundle)
    with pytest.raises(LookalikeError, match="runs on the CPU alone"):
        embedder.load(result.bundle.directory, device="cuda")
    assert made == []
    again = train(
        quick(backbone=f"{OWN}:backbone@{result.bundle.directory / 'backbone.safetensors'}", epochs=0),
        products,
        tmp_path,
    )
    np.testing.assert_allclose(again.bundle.golden_features(), result.bundle.golden_features(), rtol=1e-4, atol=1e-5)


def test_a_miner_chooses_for_a_loss_of_pairs(products, tmp_path, made):
    train(quick(loss="TripletMarginLoss", miner=f"{OWN}:Miner", epochs=1), products, tmp_path)
    assert "mined" in made


@pytest.mark.parametrize("loss", ["SupConLoss", "MultiSimilarityLoss", "NormalizedSoftmaxLoss", "CosFaceLoss"])
@pytest.mark.parametrize("miner", ["own", "BatchHardMiner"])
def test_classes_of_pytorch_metric_learning_go_by_their_names(loss, miner):
    made = losses.make(loss, 5, 8, miner=miner)
    assert isinstance(made, losses.MinedLoss)
    assert type(made.loss).__name__ == loss


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "magic"}, "loss must be one of normsoftmax, .*package.module:Name, got 'magic'"),
        ({"loss": "BaseMetricLossFunction"}, "loss must be one of"),
        ({"loss": "supcon", "miner": "Magic"}, "miner must be one of own, none, .*package.module:Name, got 'Magic'"),
        ({"miner": "BatchHardMiner"}, "loss normsoftmax compares with classes, and takes no miner"),
        ({"augmentation": "strong"}, "augmentation must be one of default, none or package.module:Name, got 'strong'"),
        ({"augmentation.tilt": 1}, "there is no hyper-parameter 'augmentation.tilt'"),
        ({"augmentation_class": "strong"}, "augmentation_class must be package.module:Name or empty, got 'strong'"),
    ],
)
def test_an_unknown_name_is_told_what_there_is(changes, message):
    with pytest.raises(LookalikeError, match=message) as refused:
        preset_config("accurate").changed(changes)
    assert refused.value.hint


def test_an_unknown_miner_is_told_the_classes_that_there_are():
    with pytest.raises(LookalikeError) as refused:
        losses.check("supcon", "semihrd")
    assert "BatchHardMiner" in refused.value.hint


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("nowhere.at.all:Loss", "loss nowhere.at.all:Loss cannot be imported: ModuleNotFoundError"),
        (f"{OWN}:Lost", "has no class or function Lost"),
        (f"{OWN}:no_module", "must be a torch.nn.Module, got str"),
        ("pytorch_metric_learning.losses:CrossBatchMemory", "cannot be made: .*missing 1 required"),
    ],
)
def test_code_that_cannot_be_used_is_named(loss, message):
    with pytest.raises(LookalikeError, match=message):
        losses.make(loss, 4, 8)


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "os.path:join"},
        {"loss": "losses:Mine"},
        {"loss": "supcon", "miner": "losses:Mine"},
        {"augmentation_class": "losses:Mine"},
        {"backbone": "losses:Mine"},
        {"backbone": "resnet5"},
        {"backbone": "test_vit@absent.pth"},
        {"frozen_layers": 99},
    ],
)
def test_what_cannot_be_made_leaves_no_run_behind_and_an_earlier_one_as_it_is(
    changes: dict[str, object], products: Dataset, tmp_path: Path
) -> None:
    config = quick(epochs=1, **changes)
    earlier = Run.of(config, products, tmp_path).directory / "model"
    with pytest.raises(LookalikeError):
        train(config, products, tmp_path)
    assert not list(tmp_path.iterdir())
    earlier.mkdir(parents=True)
    with pytest.raises(LookalikeError):
        train(config, products, tmp_path)
    assert earlier.is_dir()


def test_an_augmentation_of_another_size_is_named(products, tmp_path):
    with pytest.raises(LookalikeError, match=r"TooSmall must give floats of shape \(32, 3, 64, 64\)"):
        train(quick(augmentation_class=f"{OWN}:TooSmall", epochs=1), products, tmp_path)


def test_modules_of_the_current_folder_are_found(tmp_path, monkeypatch):
    (tmp_path / "losses_of_mine.py").write_text("from torch import nn\nclass Mine(nn.Identity):\n    pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(os.devnull)  # puts sys.path back afterwards
    assert type(losses.make("losses_of_mine:Mine", 4, 8).loss).__name__ == "Mine"


def test_every_number_of_the_augmentation_is_a_setting():
    config = preset_config("accurate").changed({"augmentation.rotation": 45.0, "augmentation.flip": False})
    assert (config.augmentation.rotation, config.augmentation.flip) == (45.0, False)
    assert config.augmentation.jitter == TrainConfig().augmentation.jitter
    assert TrainConfig.from_json(config.to_json()) == config


def test_import_paths_are_told_from_names_and_files():
    assert is_import_path("mine:Loss") and is_import_path("a.b_1:make@weights.safetensors")
    for text in ("supcon", "resnet50", "vit@file.pth", "hf-hub:timm/vit", "a:b.c", "C:\\model", ""):
        assert not is_import_path(text)
    assert found_in(["lr=1e-4,3e-4", {"loss": ["x", "loss=supcon,mine:Loss"]}]) == "mine:Loss"
    assert found_in([{"lr": 1e-4, "x": None}, "lr=log:1e-5..1e-2", "epochs=int:4..12"]) is None
