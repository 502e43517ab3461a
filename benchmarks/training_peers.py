"""The loops of others, for `benchmarks/training.py`: same backbone, images, sizes and length as ours.

Each trains as its own documentation shows it and leaves a bundle. A loop ends when it has seen as many images as
`accurate` does, in the same mixed precision, so that how busy the machine is decides nothing. All crop from the same
decoded images as ours.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

from ml.data.datasets import Dataset
from ml.model.network import EmbeddingModel, pretrained
from ml.model.save import save_bundle
from ml.training.config import TrainConfig
from ml.training.features import Cache
from ml.training.finetune import autocast
from ml.training.fit import CACHE_MARGIN, whole

NAIVE_EPOCHS = 6


def pytorch_metric_learning(data: Dataset, folder: Path, changes: dict[str, Any], shared: Cache) -> Path:
    """NormalizedSoftmaxLoss and MPerClassSampler in the loop of its examples."""
    from pytorch_metric_learning import losses, samplers

    config = TrainConfig(**changes)
    model = _model(config)
    loss_func = losses.NormalizedSoftmaxLoss(len(data.classes), model.feature_dim, temperature=config.temperature)
    batch = config.classes_per_batch * config.images_per_class
    sampler = samplers.MPerClassSampler(data.labels, m=config.images_per_class, length_before_new_iter=len(data))
    parameters = [{"params": model.backbone.parameters(), "lr": 1e-4}, {"params": loss_func.parameters(), "lr": 1e-2}]
    _loop(
        config,
        model,
        Images(data, model, config.train_px, shared),
        lambda: in_batches(sampler, batch),
        loss_func,
        torch.optim.Adam(parameters),
    )
    return save_bundle(model.eval(), folder, name="pml").directory


def open_metric_learning(data: Dataset, folder: Path, changes: dict[str, Any], shared: Cache) -> Path:
    """TripletLossWithMiner over all triplets and BalanceSampler, Adam at 1e-4: the example of its front page."""
    from oml.losses.triplet import TripletLossWithMiner
    from oml.miners.inbatch_all_tri import AllTripletsMiner
    from oml.samplers.balance import BalanceSampler

    config = TrainConfig(**changes)
    model = _model(config)
    classes = min(config.classes_per_batch, len(data.classes))
    batch = config.classes_per_batch * config.images_per_class
    sampler = BalanceSampler(data.labels, n_labels=classes, n_instances=batch // classes)
    criterion = TripletLossWithMiner(0.1, AllTripletsMiner())
    _loop(
        config,
        model,
        Images(data, model, config.train_px, shared),
        lambda: sampler,
        criterion,
        torch.optim.Adam(model.backbone.parameters(), lr=1e-4),
    )
    return save_bundle(model.eval(), folder, name="oml").directory


def naive(data: Dataset, folder: Path, changes: dict[str, Any], shared: Cache) -> Path:
    """Six epochs of cross-entropy over a linear layer: no head, no class-balanced batches, no frozen statistics."""
    config = TrainConfig(**changes)
    torch.manual_seed(config.seed)
    model, preprocessing = pretrained()
    images = Images(data, model, changes.get("train_px", preprocessing.size_px), shared)
    network = nn.Sequential(model.backbone, nn.Linear(model.feature_dim, len(data.classes))).train()
    network.to(memory_format=torch.channels_last)  # the same numbers, several times as fast
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    for _epoch in range(min(NAIVE_EPOCHS, config.epochs)):
        for batch in torch.randperm(len(data)).split(32):
            x, labels = images.batch(batch.tolist())
            with autocast(torch.device("cpu")):
                logits = network(x)
            optimizer.zero_grad()
            nn.functional.cross_entropy(logits.float(), labels).backward()
            optimizer.step()
    return save_bundle(model.eval(), folder, name="naive").directory


class Images:
    """The decoded images that `accurate` is trained on, varied by torchvision whenever they are asked for."""

    def __init__(self, data: Dataset, model: EmbeddingModel, side: int, shared: Cache) -> None:
        self._pixels = shared.pixels(data, whole(model.preprocessing, round(side * CACHE_MARGIN)), None).array
        self._labels, self._vary = torch.from_numpy(data.labels), _varied(side, model)

    def __len__(self) -> int:
        return len(self._labels)

    def batch(self, positions: list[int]) -> tuple[Tensor, Tensor]:
        """float [n, 3, h, w] and int64 [n]."""
        x = torch.stack([self._vary(Image.fromarray(self._pixels[position])) for position in positions])
        return x.contiguous(memory_format=torch.channels_last), self._labels[positions]


def in_batches(positions: Iterable[int], batch: int) -> list[list[int]]:
    """What a sampler draws this time, in whole batches."""
    drawn = [int(position) for position in positions]
    return [drawn[start : start + batch] for start in range(0, max(1, len(drawn) - batch + 1), batch)]


def _model(config: TrainConfig) -> EmbeddingModel:
    torch.manual_seed(config.seed)
    np.random.seed(config.seed)  # samplers of others draw from there
    model, preprocessing = pretrained(layer_norm=True)
    model.preprocessing = replace(preprocessing, size_px=config.test_px, resize_px=config.test_px, fit="squash")
    model.backbone.to(memory_format=torch.channels_last).train()
    for module in model.backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()  # as ours: few classes in a batch ruin the statistics
    return model


def _varied(side: int, model: EmbeddingModel) -> transforms.Compose:
    normalise = transforms.Normalize(model.preprocessing.mean, model.preprocessing.std)
    crop = transforms.RandomResizedCrop(side, scale=(0.3, 1))
    return transforms.Compose([crop, transforms.RandomHorizontalFlip(), transforms.ToTensor(), normalise])


def _loop(
    config: TrainConfig,
    model: EmbeddingModel,
    images: Images,
    batches: Callable[[], Iterable[list[int]]],
    criterion: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> None:
    left = config.epochs * len(images)
    for positions in _again(batches):
        x, labels = images.batch([int(position) for position in positions])
        with autocast(torch.device("cpu")):
            features = model.backbone(x).float()
        value = criterion(nn.functional.layer_norm(features, features.shape[1:]), labels)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        left -= len(positions)
        if left <= 0:
            return


def _again(batches: Callable[[], Iterable[list[int]]]) -> Iterator[list[int]]:
    while True:
        yield from batches()
