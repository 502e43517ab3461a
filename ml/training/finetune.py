"""Fine-tuning of a whole network: epochs of steps, on one process or many.

The loop knows images, a network and a loss, and reports; data, heads and saved models are `ml.training.train`'s.
Everything random is drawn from (seed, epoch) for the whole batch, and processes take every n-th image of it: one
process or many, resumed or not, see the same images in the same order.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from ml.data.augment import Augmentation
from ml.model.network import EmbeddingModel
from ml.training import checkpoints, layers
from ml.training.checkpoints import Checkpoint, TrainingFailed
from ml.training.process_group import ProcessGroup, SingleProcess, gathered
from ml.training.schedule import Schedule

# Pixels uint8 [n, h, w, 3], a side and draws float32 [n, 16] to float [n, 3, side, side] in 0..1: as Augmentation does.
Vary = Callable[[Tensor, int, Tensor], Tensor]

_UNKNOWN = (math.nan, math.nan)


@dataclass(frozen=True)
class EpochReport:
    """What a finished epoch says. Held-out figures are NaN without held-out classes.

    Args:
        epoch: 1 for the first.
        epochs: of the whole run.
        loss: mean over the steps.
        map_at_r: of held-out classes, in 0..1.
        recall_at_1: of held-out classes, in 0..1.
        learning_rate: of the network at the end of the epoch.
        images_per_s: trained on, held-out figures not counted.
        seconds: of the run so far.
        seconds_left: expected.
        checkpoint: folder of the state after it.
    """

    epoch: int
    epochs: int
    loss: float
    map_at_r: float
    recall_at_1: float
    learning_rate: float
    images_per_s: float
    seconds: float
    seconds_left: float
    checkpoint: Path | None

    def to_json(self) -> dict[str, float | int | None]:
        """Plain JSON: NaN becomes null, the folder is left out."""
        values = {key: value for key, value in vars(self).items() if key != "checkpoint"}
        return {key: None if isinstance(v, float) and math.isnan(v) else v for key, v in values.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`, without the folder."""
        values: dict[str, Any] = {key: math.nan if value is None else value for key, value in data.items()}
        return cls(**values, checkpoint=None)


class FeatureNetwork(nn.Module):
    """What the loss sees: normalised pixels to features before unit length."""

    def __init__(self, model: EmbeddingModel) -> None:
        super().__init__()
        self.backbone = model.backbone
        self.projection = model.projection if model.projection is not None else nn.Identity()
        self.has_layer_norm = model.layer_norm

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))

    def head(self, features: Tensor) -> Tensor:
        """The backbone's pooled features to what the loss sees, in float32."""
        features = features.float()
        if self.has_layer_norm:
            features = nn.functional.layer_norm(features, features.shape[1:])
        projected: Tensor = self.projection(features)
        return projected


def precision(device: torch.device) -> tuple[torch.dtype, str]:
    """The type that this device multiplies fastest, and why."""
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16, "bf16: the GPU has it"
        return torch.float32, "f32: the GPU has no bf16"
    has_bf16 = any(getattr(torch.cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return (torch.bfloat16, "bf16: the CPU multiplies it") if has_bf16 else (torch.float32, "f32: the CPU has no bf16")


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """Mixed precision where it is faster."""
    dtype, _ = precision(device)
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def finetune(
    network: FeatureNetwork,
    loss: nn.Module,
    pixels: np.ndarray,
    labels: np.ndarray,
    schedule: Schedule,
    augmentation: Vary,
    *,
    rows: np.ndarray | None = None,
    normalise: Callable[[Tensor], Tensor],
    held_out: Callable[[nn.Module], tuple[float, float]] | None = None,
    patience: int = 0,
    directory: Path | None = None,
    resume: Checkpoint | None = None,
    process_group: ProcessGroup | None = None,
    on_step: Callable[[int, int], None] | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> list[EpochReport]:
    """Trains in place.

    Args:
        network: prepared by `ml.training.frozen_backbone`, on its device.
        loss: on the same device.
        pixels: uint8 [m, s, s, 3]; processes may share them, so that a batch at a time is copied and no more.
        labels: int64 [n].
        schedule: how long and how fast.
        augmentation: how images vary, as `ml.data.augment.Augmentation`.
        rows: of `pixels`, int64 [n], which the labels are of; None for all.
        normalise: float [n, 3, h, w] in 0..1 to what the network takes.
        held_out: (mAP@R, recall@1) of held-out classes; called in the first process.
        patience: stop when mAP@R of held-out classes has not risen for so many epochs, and go back to the best epoch;
            0 never stops.
        directory: of checkpoints; None keeps none.
        resume: go on after this one.
        process_group: the processes that train together; None for this one alone.
        on_step: told (step, steps) of the epoch.
        on_epoch: told of every finished epoch.

    Raises:
        TrainingFailed: the loss is not a number, memory runs out, or a checkpoint cannot be written.
    """
    process_group = process_group or SingleProcess()
    if process_group.world_size > schedule.batch_size:
        raise TrainingFailed(
            f"workers must be <= {schedule.batch_size}, the images of a batch, got {process_group.world_size}",
            hint="lower --workers, or raise --classes-per-batch or --images-per-class",
        )
    rows = np.arange(len(labels)) if rows is None else rows
    loop = _Loop(network, loss, pixels, rows, labels, schedule, augmentation, normalise, process_group, on_step)
    history = [EpochReport.from_json(item) for item in resume.history] if resume else []
    if resume:
        resume.restore(loop.modules, loop.optimizer)
    started = time.monotonic() - (history[-1].seconds if history else 0.0)
    for epoch in range(len(history), schedule.epochs):
        began = time.monotonic()
        mean_loss = loop.epoch(epoch)
        seconds = time.monotonic() - began
        map_at_r, recall = (
            _shared(process_group, held_out(network) if process_group.rank == 0 else (0.0, 0.0))
            if held_out
            else _UNKNOWN
        )
        now = time.monotonic()
        report = EpochReport(
            epoch=epoch + 1,
            epochs=schedule.epochs,
            loss=mean_loss,
            map_at_r=map_at_r,
            recall_at_1=recall,
            learning_rate=loop.optimizer.param_groups[0]["lr"],
            images_per_s=loop.steps * schedule.batch_size / seconds,
            seconds=now - started,
            seconds_left=(now - began) * (schedule.epochs - epoch - 1),
            checkpoint=None,
        )
        history.append(report)
        if directory is not None and process_group.rank == 0:
            report = history[-1] = replace(report, checkpoint=_save(directory, history, loop, keeps_best=patience > 0))
        if on_epoch:
            on_epoch(report)
        best = _best(history)
        if patience and best is not None and len(history) - 1 - best >= patience:
            break
    if patience and directory is not None:
        _go_back_to_the_best(directory, history, loop)
    return history


def _save(directory: Path, history: Sequence[EpochReport], loop: "_Loop", *, keeps_best: bool) -> Path:
    """Writes the checkpoint of the last epoch, and another one of it beside where it is the best so far."""
    entries = [report.to_json() for report in history]
    saved = checkpoints.save(directory, len(history), entries, loop.modules, loop.optimizer)
    if keeps_best and _best(history) == len(history) - 1:
        checkpoints.save(directory.with_name("best"), len(history), entries, loop.modules, loop.optimizer)
    return saved.directory


def _go_back_to_the_best(directory: Path, history: Sequence[EpochReport], loop: "_Loop") -> None:
    best = _best(history)
    if best is not None and best < len(history) - 1:
        checkpoint = checkpoints.latest(directory.with_name("best"))
        if checkpoint:
            checkpoint.restore(loop.modules, loop.optimizer)


class _Loop:
    """What the epochs of a run share; the arguments are those of `finetune`."""

    def __init__(
        self,
        network: FeatureNetwork,
        loss: nn.Module,
        pixels: np.ndarray,
        rows: np.ndarray,
        labels: np.ndarray,
        schedule: Schedule,
        augmentation: Vary,
        normalise: Callable[[Tensor], Tensor],
        process_group: ProcessGroup,
        on_step: Callable[[int, int], None] | None,
    ) -> None:
        self.modules = nn.ModuleDict({"network": network, "loss": loss})
        self.optimizer = _optimizer(network, loss, schedule)
        self.steps = len(list(schedule.batches(labels, epoch=0)))
        self._network = network
        self._loss = loss
        self._pixels = pixels
        self._rows = rows
        self._labels = labels
        self._schedule = schedule
        self._augmentation = augmentation
        self._normalise = normalise
        self._process_group = process_group
        self._on_step = on_step
        self._device = next(network.parameters()).device
        self._trained = [p for group in self.optimizer.param_groups for p in group["params"]]

    def epoch(self, epoch: int) -> float:
        """One pass over the images, the first is 0. Gives the mean loss."""
        schedule = self._schedule
        generator = torch.Generator().manual_seed(schedule.seed * 100_003 + epoch)
        total = 0.0
        for step, batch in enumerate(schedule.batches(self._labels, epoch=epoch)):
            schedule.set_rates(self.optimizer, epoch * self.steps + step, schedule.epochs * self.steps)
            draws = Augmentation.draw(len(batch), generator)
            total += self._step(batch, draws, epoch)
            if self._on_step:
                self._on_step(step + 1, self.steps)
        return total / self.steps

    def _step(self, batch: np.ndarray, draws: Tensor, epoch: int) -> float:
        """One step of the optimizer. Gives the loss of the whole batch, of which this process sees its share."""
        group, size_px = self._process_group, self._schedule.size_px
        own = batch[group.rank :: group.world_size]
        images = torch.from_numpy(self._pixels[self._rows[own]]).to(self._device)
        x = self._normalise(self._augmentation(images, size_px, draws[group.rank :: group.world_size]))
        target = torch.from_numpy(self._labels[batch]).to(self._device)
        is_head_only = epoch < self._schedule.head_epochs
        try:
            with autocast(self._device), torch.set_grad_enabled(not is_head_only):
                features = self._network.backbone(x)
            value = self._loss(gathered(self._network.head(features), len(batch), group), target)
            self.optimizer.zero_grad(set_to_none=True)
            value.backward()
        except torch.OutOfMemoryError as error:
            raise TrainingFailed(
                f"a batch of {len(own)} images at {size_px} px does not fit in memory",
                hint="lower --images-per-class or --train-px",
            ) from error
        gradients = [p.grad for p in self._trained if p.grad is not None]
        mean_loss = value.detach()
        group.mean([*gradients, mean_loss])
        if not math.isfinite(float(mean_loss)):
            raise TrainingFailed(
                f"the loss is not a number in epoch {epoch + 1}",
                hint="lower --lr; the checkpoint of the last good epoch is kept, --resume goes on from it",
            )
        nn.utils.clip_grad_norm_(self._trained, self._schedule.clip_norm)
        self.optimizer.step()
        return float(mean_loss)


def _shared(process_group: ProcessGroup, figures: tuple[float, float]) -> tuple[float, float]:
    """The first process's figures, in every process; the others give zeros."""
    tensor = torch.tensor(figures) * process_group.world_size
    process_group.mean([tensor])
    return float(tensor[0]), float(tensor[1])


def _optimizer(network: FeatureNetwork, loss: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """The network's layers first, the last one, which learns fastest, before the others."""
    groups: list[dict[str, Any]] = [
        {"params": parameters, "peak": schedule.learning_rate * factor, "weight_decay": schedule.weight_decay}
        for factor, parameters in layers.by_rate(network.backbone, schedule.layer_decay)
    ]
    new = [*network.projection.parameters(), *loss.parameters()]
    groups.append({"params": new, "peak": schedule.loss_learning_rate, "weight_decay": 0.0})
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=schedule.learning_rate)


def _best(history: Sequence[EpochReport]) -> int | None:
    """Position of the epoch with the highest mAP@R of held-out classes."""
    candidates = [(report.map_at_r, -place) for place, report in enumerate(history) if math.isfinite(report.map_at_r)]
    return -max(candidates)[1] if candidates else None
