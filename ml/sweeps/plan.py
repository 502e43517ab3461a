"""What a sweep does: the settings that vary, how they are searched and judged; and whether every trial can begin."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ml.data import datasets
from ml.data.datasets import BadDataset, Dataset
from ml.data.holdout import hold_out
from ml.errors import LookalikeError
from ml.model import weights
from ml.sweeps import search_space
from ml.sweeps.record import Configuration
from ml.sweeps.search_space import BadSearchSpace, Choice, Range, Space
from ml.training import fit
from ml.training.config import TrainConfig

# What decides most on photos of products, with ranges around the presets' values.
DEFAULT_SPACE: Space = {
    "lr": Range(3e-5, 1e-3, is_log=True),
    "temperature": Range(0.02, 0.2, is_log=True),
    "images_per_class": Choice((2, 4, 8)),
    "keep_pretrained": Choice((0.0, 0.25)),
}
DEFAULT_TRIALS = 12
# Fewer epochs than a final training takes: enough to tell settings apart.
DEFAULT_EPOCHS = 6
# More classes than a final training holds out: a handful of classes would be noise.
DEFAULT_HOLDOUT = 0.25
_FIXED = {
    "holdout": "it decides what is measured",
    "split": "it decides what is measured",
    "seed": "use --repeats",
    "preset": "name it with --preset",
}
_TOGETHER = {"loss", "miner"}  # what one may be depends on the other
_CODE = {"loss", "miner", "augmentation_class", "backbone"}  # what may be an import path
_SEARCHES = ("grid", "random", "optuna")


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep does.

    Args:
        space: what may vary.
        base: every other setting.
        search: grid, random or optuna.
        scheduler: asha or none.
        trials: settings to try; a grid tries all of its own.
        repeats: seeds that every setting is tried with.
        workers: processes of each trial.
        gpus: of a Ray on this machine; None for those that there are.
        track: wandb or mlflow for every trial, besides TensorBoard; empty for neither.
    """

    space: Space
    base: TrainConfig
    search: str = "optuna"
    scheduler: str = "asha"
    trials: int = DEFAULT_TRIALS
    repeats: int = 1
    workers: int = 1
    gpus: int | None = None
    track: str = ""

    def __post_init__(self) -> None:
        if not self.space:
            raise BadSearchSpace("the search space is empty", hint="for example --grid lr=1e-4,3e-4")
        for name in self.space:
            if name in _FIXED:
                raise BadSearchSpace(f"{name} cannot be searched", hint=_FIXED[name])
        if self.search not in _SEARCHES:
            raise LookalikeError(f"search must be one of {', '.join(_SEARCHES)}, got {self.search!r}")
        for name, dimension in self.space.items():
            for value in search_space.ends(dimension):
                self._with(name, value)

    def _with(self, name: str, value: Any) -> TrainConfig:
        """The config of a trial with that value. Raises LookalikeError when there is none, whatever goes with it."""
        if name == "backbone":
            weights.check_name(value)
        together = _TOGETHER & self.space.keys() - {name} if name in _TOGETHER else ()
        others = {other: search_space.ends(self.space[other]) for other in together}
        wrong: list[LookalikeError] = []
        for settings in itertools.product(*others.values()):
            try:
                return self.base.changed({name: value} | dict(zip(others, settings, strict=True)))
            except LookalikeError as error:
                wrong.append(error)
        raise wrong[0]

    def with_code(self) -> list[TrainConfig]:
        """A config for each loss, miner, augmentation and backbone that the space names."""
        named = {name: search_space.ends(dimension) for name, dimension in self.space.items() if name in _CODE}
        return [self._with(name, value) for name, values in named.items() for value in values]

    def to_json(self) -> dict[str, Any]:
        """A dict of plain JSON types."""
        space = {
            name: list(dimension.values) if isinstance(dimension, Choice) else dataclasses.asdict(dimension)
            for name, dimension in self.space.items()
        }
        names = ("search", "scheduler", "trials", "repeats", "workers", "gpus", "track")
        return {"space": space, "base": self.base.to_json()} | {name: getattr(self, name) for name in names}

    @classmethod
    def from_json(cls, plan: Mapping[str, Any]) -> "SweepPlan":
        """The inverse of `to_json`. Raises LookalikeError when it is no such plan."""
        try:
            return cls._from_json(plan)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise LookalikeError(f"the sweep's plan cannot be read: {error}", hint="start a new sweep") from error

    @classmethod
    def _from_json(cls, plan: Mapping[str, Any]) -> "SweepPlan":
        space = {
            name: Choice(tuple(values)) if isinstance(values, list) else Range(**values)
            for name, values in plan["space"].items()
        }
        names = ("search", "scheduler", "trials", "repeats", "workers", "gpus")
        return cls(
            space,
            TrainConfig.from_json(plan["base"]),
            **{name: plan[name] for name in names},
            track=plan.get("track", ""),
        )


def check(plan: SweepPlan, data: Sequence[Dataset]) -> None:
    """Whether every trial can begin.

    Raises:
        BadDataset: a set cannot be trained on, or has too few classes to hold some out.
        LookalikeError: a loss, miner, augmentation or backbone that a trial names cannot be made.
    """
    for dataset in data:
        datasets.check_trainable(dataset)
        if not hold_out(dataset, plan.base.holdout, split=plan.base.split).is_held.any():
            raise BadDataset(
                f"{dataset.name} has too few classes to hold some out",
                hint="a sweep needs at least four classes, or four images of a class",
            )
    for config in plan.with_code() or [plan.base]:
        fit.check(config, data[0])


def best_config(plan: SweepPlan, best: Configuration, **changes: Any) -> TrainConfig:
    """The winner's config, with changes, for a training of its own."""
    return plan.base.changed(best.settings | changes)
