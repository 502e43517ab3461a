"""What a request over the queue may ask of the machine that trains: settings, and no code."""

from pathlib import Path

import pytest

from workers.errors import Refused
from workers.messages import SweepRequest, TrainRequest
from workers.trainer.__main__ import check_no_code


@pytest.mark.parametrize(
    "request_",
    [
        TrainRequest("gallery", config={"loss": "os:system"}),
        TrainRequest("gallery", config={"backbone": "package.module:make@weights.safetensors"}),
        TrainRequest("gallery", config={"augmentation": {"class": "mine:Vary"}}),
        SweepRequest(("gallery",), config={"miner": "mine:Miner"}),
        SweepRequest(("gallery",), grid=("lr=1e-4,3e-4", "loss=normsoftmax,mine:Loss")),
    ],
)
def test_a_request_that_names_code_is_refused(request_: TrainRequest | SweepRequest) -> None:
    with pytest.raises(Refused, match="names code, which a request may not run"):
        check_no_code(request_)


def test_a_space_that_names_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "space.toml").write_text('lr = [1e-4]\nloss = ["normsoftmax", "mine:Loss"]\n')
    with pytest.raises(Refused, match="mine:Loss"):
        check_no_code(SweepRequest(("gallery",), space=str(tmp_path / "space.toml")))


def test_settings_pass() -> None:
    check_no_code(TrainRequest("gallery", config={"loss": "supcon", "lr": 1e-4, "augmentation": "none"}))
    check_no_code(SweepRequest(("gallery",), grid=("lr=log:1e-5..1e-3", "epochs=int:2..4", "loss=supcon,arcface")))
