"""Trainings and sweeps to perform."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from workers.messages.base import Message


@dataclass(frozen=True)
class TrainRequest(Message):
    """A training to perform: what `lookalike train` takes, with its defaults.

    `data` and `test` name a folder, a CSV, or the word gallery. `config` changes fields of the preset's
    ml.training.config.TrainConfig. `gpus` is None for what the machine has. `recipe` names one of
    ml.training.recipes: `data` is then the published data set, and the recipe stands for preset and test images.
    `strict` ends a training whose data there are notes on, before it begins. `track` is wandb, mlflow or empty.
    """

    kind: ClassVar[str] = "train"

    data: str
    test: str | None = None
    preset: str = "accurate"
    config: dict[str, Any] = field(default_factory=dict)
    workers: int = 1
    gpus: int | None = None
    resume: bool = False
    publish: bool = False
    recipe: str | None = None
    strict: bool = False
    track: str = ""


@dataclass(frozen=True)
class SweepRequest(Message):
    """A sweep to perform: what `lookalike sweep` takes, with its defaults.

    `grid` holds hyper-parameters as `name=value,value`, `space` names a TOML file of the same; none: the default space.
    `search` is grid, random, optuna, or None for what suits the space. `resume` names a sweep to go on with.
    """

    kind: ClassVar[str] = "sweep"

    data: tuple[str, ...] = ()
    test: str | None = None
    grid: tuple[str, ...] = ()
    space: str | None = None
    search: str | None = None
    scheduler: str = "asha"
    trials: int | None = None
    repeats: int = 1
    preset: str = "accurate"
    config: dict[str, Any] = field(default_factory=dict)
    workers: int = 1
    gpus: int | None = None
    resume: str | None = None
    refit: bool = False
    publish: bool = False
    track: str = ""


TRAINING_REQUESTS: dict[str, type[TrainRequest] | type[SweepRequest]] = {
    request.kind: request for request in (TrainRequest, SweepRequest)
}
