"""How long and how fast a network is fine-tuned: batches of an epoch, and learning rates along the steps."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ml.data import sampling


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

    @property
    def batch_size(self) -> int:
        """Images in a batch, of all processes together."""
        return self.classes_per_batch * (self.images_per_class or 4)

    def batches(self, labels: np.ndarray, *, epoch: int) -> Iterator[np.ndarray]:
        """Positions of the images of each step of an epoch, the first is 0.

        Args:
            labels: int64 [n].
            epoch: which one; each has an order of its own.
        """
        if not self.images_per_class:
            return sampling.shuffled(len(labels), batch=self.batch_size, seed=self.seed, epoch=epoch)
        return sampling.class_balanced(
            labels,
            classes_per_batch=self.classes_per_batch,
            images_per_class=self.images_per_class,
            seed=self.seed,
            epoch=epoch,
        )

    def set_rates(self, optimizer: torch.optim.Optimizer, step: int, steps: int) -> None:
        """One-cycle: from 1/25 of each group's `peak` up to it and down to nearly nothing, both along a cosine."""
        rising = max(1.0, self.warmup * steps)
        if step < rising:
            share = 0.04 + 0.96 * (1 - math.cos(math.pi * step / rising)) / 2
        else:
            share = 1e-5 + (1 - 1e-5) * (1 + math.cos(math.pi * (step - rising) / max(1.0, steps - rising))) / 2
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * share
