"""`lookalike models` lists, and `lookalike models remove` takes away what nothing needs."""

import json
from pathlib import Path

import pytest

from deploy.cli.__main__ import run
from deploy.cli.console import Console
from ml.model.network import EmbeddingModel
from ml.model.registry import Registry
from ml.model.save import save_bundle
from ml.preprocessing import Preprocessing

TINY = Preprocessing(32, 32, "squash", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), False)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The registry of an empty home, with the models `first` and `second`, of which `second` is active."""
    monkeypatch.setenv("LOOKALIKE_HOME", str(tmp_path))
    registry = Registry(f"file://{tmp_path}/storage/models")
    bundle = save_bundle(EmbeddingModel("resnet10t", TINY, dim=8), tmp_path / "bundle", name="tiny")
    for name in ("first", "second"):
        (tmp_path / "storage/models" / name).mkdir(parents=True)
        facts = json.loads((bundle.directory / "model.json").read_text("utf-8")) | {"name": name}
        (tmp_path / "storage/models" / name / "model.json").write_text(json.dumps(facts), "utf-8")
    registry.activate("second", "collection")
    return registry


def test_models_without_an_action_lists_them(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "--json"], Console()) == 0
    listed = json.loads(capsys.readouterr().out)
    assert ([model["name"] for model in listed["models"]], listed["active"]) == (["first", "second"], "second")
    assert run(["models"], Console()) == 0
    assert "*  second" in capsys.readouterr().out


def test_figures_stand_beside_the_name_of_the_photos_that_they_are_of(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, fingerprint in (("first", "aaaaaa1"), ("second", "bbbbbb2")):
        file = tmp_path / "storage/models" / name / "model.json"
        facts = json.loads(file.read_text("utf-8"))
        facts |= {"metrics": {"map@r": 0.5, "intervals": {"map@r": [0.4, 0.6]}}}
        facts["lineage"] = {"test": {"name": "test", "fingerprint": fingerprint}}
        file.write_text(json.dumps(facts), "utf-8")
    assert run(["models"], Console()) == 0
    listed = capsys.readouterr().out
    assert "50.0 (40.0 to 60.0)" in listed
    assert "test aaaaaa" in listed and "test bbbbbb" in listed, "two sets of one name are told apart"


@pytest.mark.parametrize("arguments", [["--json", "remove", "first"], ["remove", "first", "--json"]])
def test_remove_prints_one_object_and_the_model_is_gone(
    registry: Registry, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["models", *arguments], Console()) == 0
    assert json.loads(capsys.readouterr().out) == {"removed": "first"}
    assert [record.name for record in registry.models()] == ["second"]


def test_the_model_that_answers_is_not_removed(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "remove", "second"], Console()) == 1
    error = "error: the model second answers searches\nhint: publish another one first\n"
    assert capsys.readouterr() == ("", error)
    assert len(registry.models()) == 2
