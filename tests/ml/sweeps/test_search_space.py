"""A space is what the command line says, and nothing senseless."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.sweeps.search_space import BadSearchSpace, Choice, Range, grid, parse, read, samples


@dataclass(frozen=True)
class Config:
    lr: float = 1e-3
    dim: int | None = None
    loss: str = "normsoftmax"
    mirror: bool = False
    sizes: tuple[int, ...] = ()


def test_values_take_the_types_of_the_configuration() -> None:
    space = parse(["lr=1e-3,1e-4", "dim=128,512", "loss=arcface", "mirror=true,false"], Config)
    assert space == {
        "lr": Choice((1e-3, 1e-4)),
        "dim": Choice((128, 512)),
        "loss": Choice(("arcface",)),
        "mirror": Choice((True, False)),
    }


def test_ranges_may_be_even_logarithmic_or_whole() -> None:
    space = parse(["lr=log:1e-5..1e-2", "dim=64..512"], Config)
    assert space == {"lr": Range(1e-5, 1e-2, is_log=True), "dim": Range(64, 512, is_int=True)}


def test_a_grid_is_every_combination() -> None:
    settings = list(grid(parse(["lr=1,2", "dim=3,4"], Config)))
    assert settings == [{"lr": 1.0, "dim": 3}, {"lr": 1.0, "dim": 4}, {"lr": 2.0, "dim": 3}, {"lr": 2.0, "dim": 4}]


def test_a_value_twice_is_tried_once() -> None:
    assert parse(["lr=1,1.0,2"], Config)["lr"] == Choice((1.0, 2.0))


@given(st.integers())
def test_samples_stay_in_their_ranges_and_repeat_with_the_seed(seed: int) -> None:
    space = parse(["lr=log:1e-5..1e-2", "dim=64..512", "loss=a,b"], Config)
    drawn = list(samples(space, 5, seed=seed))
    assert drawn == list(samples(space, 5, seed=seed))
    for setting in drawn:
        assert 1e-5 * 0.999 <= setting["lr"] <= 1e-2 * 1.001
        assert isinstance(setting["dim"], int)
        assert 64 <= setting["dim"] <= 512
        assert setting["loss"] in ("a", "b")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("learning_rate=1", "no hyper-parameter 'learning_rate'"),
        ("lr", "names no values"),
        ("lr=", "names no values"),
        ("lr=,", "no values"),
        ("lr=fast", "lr must be a number, got 'fast'"),
        ("lr=nan", "lr must be finite, got 'nan'"),
        ("lr=log:0..1", "must start above 0, got lr from 0"),
        ("lr=2..1", "must have LOW < HIGH, got lr from 2"),
        ("sizes=1,2", "cannot be searched"),
    ],
)
def test_a_senseless_space_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(BadSearchSpace, match=complaint):
        parse([text], Config)


def test_a_name_twice_is_refused() -> None:
    with pytest.raises(BadSearchSpace, match="given twice"):
        parse(["lr=1", "lr=2"], Config)


def test_a_grid_of_a_range_is_refused() -> None:
    with pytest.raises(BadSearchSpace, match="a grid needs values"):
        list(grid(parse(["lr=1..2"], Config)))


def test_a_file_says_the_same(tmp_path: Path) -> None:
    file = tmp_path / "space.toml"
    file.write_text('lr = [1e-3, 1e-4]\ndim = "64..512"\nloss = "arcface"\n')
    assert read(file, Config) == parse(["lr=1e-3,1e-4", "dim=64..512", "loss=arcface"], Config)


@pytest.mark.parametrize("text", ["", "lr = [", "nothing = 1"])
def test_a_senseless_file_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "space.toml"
    file.write_text(text)
    with pytest.raises(BadSearchSpace):
        read(file, Config)
