"""Where training runs live: one folder for each config and data set, so that the same command finds its run again.

config.json    the config, the data and the notes on it, the command, the commit and the machine
log.txt        what happened when
tensorboard/   curves, final figures and hyper-parameters
history.json   the same curves, one entry an epoch
checkpoints/   while it runs
model/         the finished bundle
test.npz       vectors of the test images, if there are any: `ml.evaluation.vectors`

Beside the folder, since that may be moved, lies `.NAME.lock`: whoever leads the run holds it.
"""

import contextlib
import hashlib
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml import files
from ml.data.datasets import Dataset
from ml.errors import LookalikeError
from ml.names import MODEL_JSON
from ml.training import checkpoints, lineage
from ml.training.checkpoints import TrainingFailed
from ml.training.config import TrainConfig

TEST_VECTORS = "test.npz"


@dataclass(frozen=True)
class Run:
    """Where a run of this config on this data lives. The same command finds the same run again."""

    name: str
    directory: Path

    @classmethod
    def of(cls, config: TrainConfig, data: Dataset, runs_dir: Path) -> "Run":
        facts = json.dumps([config.to_json(), data.fingerprint], sort_keys=True)
        key = hashlib.sha256(facts.encode()).hexdigest()[:8]
        name = f"{_slug(data.name)}-{config.preset}-{key}"
        return cls(name, runs_dir / name)

    def held(self) -> contextlib.AbstractContextManager[None]:
        """The right to work in the folder, to the end of the block.

        Raises:
            LookalikeError: another process has it.
        """
        refusal = LookalikeError(
            f"this training is under way already, as {self.name}",
            hint="wait for it or stop it (lookalike jobs lists what runs), or train another one with another --seed",
        )
        return files.held(self.directory.with_name(f".{self.name}.lock"), refusal)

    def begin_anew(self) -> str | None:
        """Makes room for a run from the beginning. Model or checkpoints of an earlier one are set aside, never deleted.

        Returns:
            What was set aside, in words.

        Raises:
            TrainingFailed: the folder cannot be moved.
        """
        unfinished = checkpoints.latest(self.directory / "checkpoints")
        if unfinished is None and not (self.directory / "model" / MODEL_JSON).exists():
            checkpoints.clear(self.directory)
            return None
        taken = [int(path.suffix[1:]) for path in self.directory.parent.glob(f"{self.name}.[0-9]*")]
        aside = self.directory.with_name(f"{self.name}.{max(taken, default=0) + 1}")
        try:
            self.directory.rename(aside)
        except OSError as error:
            raise TrainingFailed(f"{self.directory} cannot be moved: {error.strerror}") from error
        if unfinished is None:
            return f"an earlier run was set aside with its model, as {aside}; --resume would have kept it"
        return f"an unfinished run of {unfinished.epoch} epochs was set aside as {aside}; --resume would have gone on"

    def write_config(self, config: TrainConfig, data: Dataset, notes: Sequence[str]) -> None:
        """Keeps what decides this run, and what is to be known of its data.

        Raises:
            TrainingFailed: it cannot be written.
        """
        about_data = {"name": data.name, "fingerprint": data.fingerprint, "notes": list(notes)}
        facts = {"config": config.to_json(), "data": about_data, "command": shlex.join(sys.argv)}
        of_code = lineage.of(config.to_json(), data)
        facts |= {name: of_code[name] for name in ("code", "libraries", "machine")}
        try:
            files.write(self.directory / "config.json", json.dumps(facts, indent=2) + "\n")
        except OSError as error:
            raise TrainingFailed(
                f"{self.directory} cannot be written: {error.strerror}", hint="free some space"
            ) from error


def difference(config: TrainConfig, data: Dataset, runs_dir: Path) -> str | None:
    """Why there is nothing to resume: what the nearest run on data of this name did otherwise.

    Returns:
        None where the run is there, or where no run has begun on such data.
    """
    if Run.of(config, data, runs_dir).directory.exists():
        return None
    own = {"the photos": data.fingerprint, **flat(config.to_json())}
    found: list[tuple[int, float, str, list[str]]] = []
    for file in runs_dir.glob(f"{_slug(data.name)}-*/config.json"):
        try:
            facts = json.loads(file.read_text("utf-8"))
            other = {"the photos": facts["data"]["fingerprint"], **flat(facts["config"])}
            began = file.stat().st_mtime
        except (OSError, ValueError, KeyError, TypeError):
            continue
        changed = [name for name in own if other.get(name) != own[name]]
        texts = [name if name == "the photos" else f"{name} ({other.get(name)!r} there)" for name in changed]
        found.append((len(changed), -began, file.parent.name, texts))
    if not found:
        return None
    _, _, name, texts = min(found)
    return f"there is no run of these settings to resume, it begins anew; {name} differs in {', '.join(texts)}"


def flat(config: dict[str, Any]) -> dict[str, Any]:
    """With the fields of nested settings as `outer.inner`."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        flat |= {f"{name}.{key}": item for key, item in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _slug(name: str) -> str:
    """A data set's name as part of a model's name: letters, digits and dashes."""
    dashed = "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower())
    return "-".join(part for part in dashed.split("-") if part)[:40] or "data"
