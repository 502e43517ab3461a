"""`lookalike export`: what ONNX Runtime makes of the file is what the model gives."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from deploy.cli.__main__ import run
from deploy.cli.console import Console
from deploy.cli.export import _scaled
from ml.model.backbone import IMAGENET
from ml.model.default import write_default


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOKALIKE_HOME", str(tmp_path / "home"))


def test_the_file_gives_the_model_s_vectors_for_any_number_of_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = write_default(tmp_path / "model")
    file = tmp_path / "model.onnx"
    assert run(["export", str(tmp_path / "model"), "--onnx", str(file), "--json"], Console()) == 0
    report = json.loads(capsys.readouterr().out)
    session = onnxruntime.InferenceSession(file)
    (image,) = session.get_inputs()
    assert (image.name, image.type, image.shape[1:]) == ("image", "tensor(uint8)", [224, 224, 3])
    stated = session.get_modelmeta().custom_metadata_map["lookalike.preprocessing"]
    assert report["preprocessing"] == json.loads(stated)
    pixels, _, golden = bundle.golden()
    (vectors,) = session.run(["embedding"], {"image": np.stack([pixels, pixels[::-1], pixels])})
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors[[0, 2]] @ golden, 1, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "message", "way_out"),
    [
        ("absent", "error: there is no model absent\n", "lookalike train DATA makes one"),
        ("active", "error: no model is active yet\n", "name untrained"),
    ],
)
def test_a_model_that_is_not_there_is_one_line_with_a_way_out(
    name: str, message: str, way_out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", name, "--onnx", str(tmp_path / "model.onnx")], Console()) == 1
    told = capsys.readouterr().err
    assert told.startswith(message) and way_out in told
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize(
    ("fit", "resize_px", "told"),
    [
        ("squash", 224, "both sides scaled to 224 px (bicubic)"),
        ("squash", 256, "both sides scaled to 256 px (bicubic), then the middle 224 x 224"),
        ("crop", 224, "the short side scaled to 224 px (bicubic), then the middle 224 x 224"),
        ("pad", 224, "the long side, padded with the mean colour, scaled to 224 px (bicubic)"),
    ],
)
def test_a_cut_is_told_where_something_is_cut(fit: str, resize_px: int, told: str) -> None:
    assert _scaled(replace(IMAGENET, fit=fit, resize_px=resize_px)) == told
