"""The probe of backbones: the best on held-out classes, what is at hand, and what cannot be used."""

import math

import pytest
from safetensors.torch import save_file

from ml.errors import LookalikeError
from ml.import_path import is_import_path
from ml.model import backbone
from ml.training import probe
from ml.training.probe import Probed
from tests.ml.conftest import quick


def test_pretrained_weights_beat_random_ones_and_what_fails_comes_last(products, tmp_path):
    told: list[Probed] = []
    candidates = ["test_resnet@random", "nothing_of_timm", "efficientnet_lite0"]
    found = probe.probe(products, candidates, quick(), tmp_path, device="cpu", budget_s=600, on_probed=told.append)
    assert [one.backbone for one in found] == ["efficientnet_lite0", "test_resnet@random", "nothing_of_timm"]
    assert [one.backbone for one in told] == candidates
    assert found[0].map_at_r > found[1].map_at_r
    assert math.isnan(found[2].map_at_r) and "there is no backbone 'nothing_of_timm'" in found[2].reason


def test_when_the_time_is_used_up_no_further_one_begins(products, tmp_path):
    found = probe.probe(products, ["test_resnet@random", "test_vit@random"], quick(), tmp_path, budget_s=0)
    assert [one.backbone for one in found] == ["test_resnet@random"]


def test_a_faster_one_is_taken_where_figures_are_within_a_point(products, tmp_path, monkeypatch):
    reached = {"slow": Probed("slow", 0.505, 9.0), "fast": Probed("fast", 0.5, 1.0), "worse": Probed("worse", 0.4, 0.1)}
    monkeypatch.setattr(probe, "_probed", lambda name, *_: reached[name])
    found = probe.probe(products, list(reached), quick(), tmp_path)
    assert [one.backbone for one in found] == ["fast", "slow", "worse"]


def test_without_any_that_can_be_used_the_reason_is_told(products, tmp_path):
    with pytest.raises(LookalikeError, match="no backbone can be probed: there is no backbone 'nothing_of_timm'"):
        probe.probe(products, ["nothing_of_timm"], quick(), tmp_path)


def test_at_hand_are_the_default_and_what_the_hubs_cache_holds(tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "none"))
    assert probe.at_hand() == ["efficientnet_lite0"]
    for owner in ("timm", "someone"):
        snapshot = tmp_path / "hub" / f"models--{owner}--test_vit.r160_in1k" / "snapshots" / ("a" * 40)
        snapshot.mkdir(parents=True)
        save_file(backbone.create("test_vit", 160).state_dict(), snapshot / "model.safetensors")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    assert probe.at_hand() == ["efficientnet_lite0", "test_vit.r160_in1k"]


def test_auto_is_no_code():
    assert not is_import_path("auto:resnet18")
