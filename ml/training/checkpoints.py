"""The state of a training run on disk, so that a killed run goes on from its last epoch.

checkpoints/epoch-0003/state.safetensors   weights, the loss's own, and the optimizer's moments
checkpoints/epoch-0003/progress.json       epoch, figures so far, SHA-256 of the state

Written beside, synced, renamed: a checkpoint is there whole or not at all. The last two are kept.
"""

import errno
import hashlib
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from msgspec import Meta
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ml import files, records
from ml.errors import LookalikeError
from ml.records import Sha256

log = logging.getLogger(__name__)

KEPT = 2
_STATE, _PROGRESS, _HISTORY = "state.safetensors", "progress.json", "history.json"


class TrainingFailed(LookalikeError):
    """A run that cannot go on: the loss is not a number, no memory, disk full."""


@dataclass(frozen=True)
class _Progress:
    """What progress.json holds."""

    epoch: Annotated[int, Meta(ge=0, le=1_000_000)]
    history: list[dict[str, Any]]
    sha256: Sha256


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint: epochs done, what was reported so far, and its folder."""

    epoch: int
    history: list[dict[str, Any]]
    directory: Path

    def restore(self, modules: nn.ModuleDict, optimizer: torch.optim.Optimizer) -> None:
        """Loads the state into modules and optimizer of the same run.

        Raises:
            TrainingFailed: it does not fit them.
        """
        try:
            tensors = load_file(self.directory / _STATE)
            modules.load_state_dict({k.removeprefix("m."): v for k, v in tensors.items() if k.startswith("m.")})
            state = optimizer.state_dict()
            state["state"] = {}
            for key, value in tensors.items():
                if key.startswith("o."):
                    _, number, name = key.split(".")
                    state["state"].setdefault(int(number), {})[name] = value
            optimizer.load_state_dict(state)
        except (OSError, RuntimeError, ValueError, KeyError, SafetensorError) as error:
            raise TrainingFailed(
                f"the checkpoint {self.directory} does not fit this run", hint="start it anew, without --resume"
            ) from error


def save(
    directory: Path, epoch: int, history: list[dict[str, Any]], modules: nn.ModuleDict, optimizer: torch.optim.Optimizer
) -> Checkpoint:
    """Writes the checkpoint of a finished epoch, then removes all but the last two.

    Raises:
        TrainingFailed: the disk is full or cannot be written; earlier checkpoints are as they were.
    """
    tensors: dict[str, Tensor] = {f"m.{key}": value.detach() for key, value in modules.state_dict().items()}
    for number, entries in optimizer.state_dict()["state"].items():
        tensors |= {f"o.{number}.{name}": torch.as_tensor(value) for name, value in entries.items()}
    tensors = {key: value.cpu().contiguous().clone() for key, value in tensors.items()}
    target = directory / f"epoch-{epoch:04d}"
    try:
        with files.draft(target) as draft:
            draft.mkdir()
            save_file(tensors, draft / _STATE)
            progress = {"epoch": epoch, "history": history, "sha256": _sha256(draft / _STATE)}
            (draft / _PROGRESS).write_text(records.dumps(progress), "utf-8")
    except Exception as error:  # safetensors has its own family for a full disk
        raise TrainingFailed(_reason(error, directory), hint="free some space and go on with --resume") from error
    for old in _folders(directory)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return Checkpoint(epoch, history, target)


def latest(directory: Path) -> Checkpoint | None:
    """The newest whole checkpoint; None if there is none. A damaged one is passed over."""
    for folder in reversed(_folders(directory)):
        try:
            content = records.loads(files.read_regular(folder / _PROGRESS), nan=lambda _: None)
            progress = records.typed(_Progress, content)
            if progress.sha256 == _sha256(folder / _STATE):
                return Checkpoint(progress.epoch, progress.history, folder)
        except (OSError, ValueError):
            continue
    return None


def write_history(run_dir: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Keeps what a finished run reported, for its report's curves."""
    files.write(run_dir / _HISTORY, records.dumps(list(history), indent=1) + "\n")


def read_history(run_dir: Path) -> list[dict[str, Any]]:
    """What `write_history` wrote; nothing if it did not, or if that is damaged: the model does not depend on it."""
    path = run_dir / _HISTORY
    try:
        return records.typed(list[dict[str, Any]], records.loads(files.read_regular(path), nan=lambda _: None))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        log.warning("%s cannot be read, the report has no curves: %s", path, error)
        return []


def clear(directory: Path) -> None:
    """Removes all checkpoints, and what a killed writer left."""
    shutil.rmtree(directory, ignore_errors=True)


def _folders(directory: Path) -> list[Path]:
    return sorted(directory.glob("epoch-*")) if directory.is_dir() else []


def _reason(error: Exception, directory: Path) -> str:
    is_full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
    return f"the disk is full: {directory}" if is_full else f"the checkpoint cannot be written: {error}"


def _sha256(path: Path) -> str:
    with files.open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
