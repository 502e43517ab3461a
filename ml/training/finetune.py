"""Fine-tuning of a whole network: epochs of steps, on one process or many.

The loop knows images, a network and a loss, and reports; data, heads and saved models are `ml.training.train`'s.
Everything random is drawn from (seed, epoch) for the whole batch, and processes take every n-th image of it: one
process or many, resumed or not, see the same images in the same order.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from ml.data import sampling
from ml.data.augment import Augmentation
from ml.model.network import EmbeddingModel
from ml.training import checkpoints, layers
from ml.training.checkpoints import Checkpoint, TrainingFailed
from ml.training.process_group import ProcessGroup, SingleProcess, gathered

# Pixels uint8 [n, h, w, 3], a side and draws float32 [n, 16] to float [n, 3, side, side] in 0..1: as Augmentation does.
Vary = Callable[[Tensor, int, Tensor], Tensor]

_UNKNOWN = (math.nan, math.nan)


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    Args:
        epochs: passes over the images.
        size_px: side of the images in training.
        learning_rate: highest, of the network.
        loss_learning_rate: highest, of the loss's own weights and of a new linear map.
        weight_decay: of the network.
        warmup: share of all steps in which the rates rise; then they fall along a cosine (one-cycle, Smith 2018).
        classes_per_batch: different classes in a batch.
        images_per_class: of each; 0 draws images regardless of class.
        clip_norm: largest norm of the gradient.
        head_epochs: of `epochs`, the first that train the linear map and the loss alone.
        seed: of batches and augmentation.
        layer_decay: factor of the learning rate from each layer of the network to the one before it; 1 for all alike.
    """

    epochs: int
    size_px: int
    learning_rate: float
    loss_learning_rate: float
    weight_decay: float
    warmup: float
    classes_per_batch: int
    images_per_class: int
    clip_norm: float
    head_epochs: int
    seed: int
    layer_decay: float = 1.0


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
    rows = np.arange(len(labels)) if rows is None else rows
    if process_group.world_size > _batch_size(schedule):
        raise TrainingFailed(
            f"workers must be <= {_batch_size(schedule)}, the images of a batch, got {process_group.world_size}",
            hint="lower --workers, or raise --classes-per-batch or --images-per-class",
        )
    modules = nn.ModuleDict({"network": network, "loss": loss})
    optimizer = _optimizer(network, loss, schedule)
    history = [EpochReport.from_json(item) for item in resume.history] if resume else []
    if resume:
        resume.restore(modules, optimizer)
    steps = len(list(_batches(labels, schedule, 0)))
    started = time.monotonic() - (history[-1].seconds if history else 0.0)
    best = _best(history)
    for epoch in range(len(history), schedule.epochs):
        began = time.monotonic()
        mean_loss = _one_epoch(
            network,
            loss,
            optimizer,
            pixels,
            rows,
            labels,
            schedule,
            augmentation,
            epoch,
            steps,
            normalise,
            process_group,
            on_step,
        )
        seconds = time.monotonic() - began
        map_at_r, recall = (
            _shared(process_group, held_out(network) if process_group.rank == 0 else (0.0, 0.0))
            if held_out
            else _UNKNOWN
        )
        now = time.monotonic() - started
        report = EpochReport(
            epoch=epoch + 1,
            epochs=schedule.epochs,
            loss=mean_loss,
            map_at_r=map_at_r,
            recall_at_1=recall,
            learning_rate=optimizer.param_groups[0]["lr"],
            images_per_s=steps * _batch_size(schedule) / seconds,
            seconds=now,
            seconds_left=(time.monotonic() - began) * (schedule.epochs - epoch - 1),
            checkpoint=None,
        )
        history.append(report)
        if directory is not None and process_group.rank == 0:
            entries = [item.to_json() for item in history]
            saved = checkpoints.save(directory, epoch + 1, entries, modules, optimizer)
            report = history[-1] = replace(report, checkpoint=saved.directory)
            if patience and _best(history) == len(history) - 1:
                checkpoints.save(directory.with_name("best"), epoch + 1, entries, modules, optimizer)
        if on_epoch:
            on_epoch(report)
        best = _best(history)
        if patience and best is not None and len(history) - 1 - best >= patience:
            break
    if patience and directory is not None and best is not None and best < len(history) - 1:
        best_checkpoint = checkpoints.latest(directory.with_name("best"))
        if best_checkpoint:
            best_checkpoint.restore(modules, optimizer)
    return history


def _one_epoch(
    network: FeatureNetwork,
    loss: nn.Module,
    optimizer: torch.optim.Optimizer,
    pixels: np.ndarray,
    rows: np.ndarray,
    labels: np.ndarray,
    schedule: Schedule,
    augmentation: Vary,
    epoch: int,
    steps: int,
    normalise: Callable[[Tensor], Tensor],
    process_group: ProcessGroup,
    on_step: Callable[[int, int], None] | None,
) -> float:
    device = next(network.parameters()).device
    generator = torch.Generator().manual_seed(schedule.seed * 100_003 + epoch)
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    is_head_only = epoch < schedule.head_epochs
    total = 0.0
    for step, batch in enumerate(_batches(labels, schedule, epoch)):
        _set_rates(optimizer, schedule, epoch * steps + step, schedule.epochs * steps)
        draws = Augmentation.draw(len(batch), generator)[process_group.rank :: process_group.world_size]
        own = batch[process_group.rank :: process_group.world_size]
        x = normalise(augmentation(torch.from_numpy(pixels[rows[own]]).to(device), schedule.size_px, draws))
        target = torch.from_numpy(labels[batch]).to(device)
        try:
            with autocast(device), torch.set_grad_enabled(not is_head_only):
                features = network.backbone(x)
            value = loss(gathered(network.head(features), len(batch), process_group), target)
            optimizer.zero_grad(set_to_none=True)
            value.backward()
        except torch.OutOfMemoryError as error:
            raise TrainingFailed(
                f"a batch of {len(own)} images at {schedule.size_px} px does not fit in memory",
                hint="lower --images-per-class or --train-px",
            ) from error
        gradients = [p.grad for p in trained if p.grad is not None]
        current = value.detach()
        process_group.mean([*gradients, current])
        if not math.isfinite(float(current)):
            raise TrainingFailed(
                f"the loss is not a number in epoch {epoch + 1}",
                hint="lower --lr; the checkpoint of the last good epoch is kept, --resume goes on from it",
            )
        nn.utils.clip_grad_norm_(trained, schedule.clip_norm)
        optimizer.step()
        total += float(current)
        if on_step:
            on_step(step + 1, steps)
    return total / steps


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


def _set_rates(optimizer: torch.optim.Optimizer, schedule: Schedule, step: int, steps: int) -> None:
    """One-cycle: from 1/25 of the peak up to it and down to nearly nothing, both along a cosine."""
    rising = max(1.0, schedule.warmup * steps)
    if step < rising:
        share = 0.04 + 0.96 * (1 - math.cos(math.pi * step / rising)) / 2
    else:
        share = 1e-5 + (1 - 1e-5) * (1 + math.cos(math.pi * (step - rising) / max(1.0, steps - rising))) / 2
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share


def _batches(labels: np.ndarray, schedule: Schedule, epoch: int) -> Iterator[np.ndarray]:
    if not schedule.images_per_class:
        return sampling.shuffled(len(labels), batch=_batch_size(schedule), seed=schedule.seed, epoch=epoch)
    return sampling.class_balanced(
        labels,
        classes_per_batch=schedule.classes_per_batch,
        images_per_class=schedule.images_per_class,
        seed=schedule.seed,
        epoch=epoch,
    )


def _batch_size(schedule: Schedule) -> int:
    return schedule.classes_per_batch * (schedule.images_per_class or 4)


def _best(history: Sequence[EpochReport]) -> int | None:
    """Position of the epoch with the highest mAP@R of held-out classes."""
    candidates = [(report.map_at_r, -place) for place, report in enumerate(history) if math.isfinite(report.map_at_r)]
    return -max(candidates)[1] if candidates else None
