"""The training loop: the same on one process or more, resumed or not, and clear about what stops it."""

import math
from dataclasses import replace
from threading import Barrier, Thread

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from ml.data.augment import Augmentation
from ml.model.backbone import default_preprocessing
from ml.model.network import EmbeddingModel
from ml.training import checkpoints, finetune, frozen_backbone, losses
from ml.training.checkpoints import TrainingFailed
from ml.training.finetune import FeatureNetwork
from ml.training.schedule import Schedule

SCHEDULE = Schedule(
    epochs=3,
    size_px=32,
    learning_rate=1e-3,
    loss_learning_rate=1e-2,
    weight_decay=1e-2,
    warmup=0.25,
    classes_per_batch=4,
    images_per_class=2,
    clip_norm=5.0,
    head_epochs=0,
    seed=0,
)


def _data(classes=4, each=4):
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), each)
    colours = random.integers(40, 215, (classes, 1, 1, 3))
    noise = random.integers(-40, 40, (len(labels), 40, 40, 3))
    return (colours[labels] + noise).clip(0, 255).astype(np.uint8), labels


def _network(name="resnet18", dim=None):
    torch.manual_seed(0)
    model = EmbeddingModel(
        name, replace(default_preprocessing(name), size_px=32, resize_px=32), dim=dim, layer_norm=True
    )
    frozen_backbone.prepare(model.backbone)
    network = FeatureNetwork(model)
    torch.manual_seed(1)
    return network, losses.make("normsoftmax", 4, dim or model.feature_dim)


def _run(network, loss, schedule=SCHEDULE, **options):
    pixels, labels = _data()
    return finetune.finetune(
        network, loss, pixels, labels, schedule, Augmentation(), normalise=lambda x: (x - 0.5) / 0.25, **options
    )


def _weights(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def test_the_loss_falls_and_every_epoch_is_reported():
    network, loss = _network()
    reports = []
    _run(network, loss, replace(SCHEDULE, epochs=6), on_epoch=reports.append)
    assert [report.epoch for report in reports] == [1, 2, 3, 4, 5, 6]
    assert reports[-1].loss < reports[0].loss / 2
    assert all(report.images_per_s > 0 and math.isnan(report.map_at_r) for report in reports)
    assert reports[-1].seconds_left == 0


def test_a_run_that_was_killed_and_resumed_ends_with_the_same_weights(tmp_path):
    network, loss = _network()
    _run(network, loss, directory=tmp_path / "whole")

    class Killed(BaseException):
        pass

    def kill(report):
        if report.epoch == 2:
            raise Killed

    cut, cut_loss = _network()
    with pytest.raises(Killed):
        _run(cut, cut_loss, directory=tmp_path / "cut", on_epoch=kill)
    resumed, resumed_loss = _network()
    found = checkpoints.latest(tmp_path / "cut")
    assert found is not None and found.epoch == 2
    history = _run(resumed, resumed_loss, directory=tmp_path / "cut", resume=found)
    assert [report.epoch for report in history] == [1, 2, 3]
    torch.testing.assert_close(_weights(resumed), _weights(network), atol=1e-6, rtol=1e-5)


class _Together:
    """Two processes played by threads that meet at a barrier."""

    def __init__(self, rank, world_size, shared):
        self.rank, self.world_size, self.shared = rank, world_size, shared

    def mean(self, tensors):
        slots, barrier = self.shared
        slots[self.rank] = [tensor.clone() for tensor in tensors]
        barrier.wait(timeout=60)
        for position, tensor in enumerate(tensors):
            tensor.copy_(torch.stack([slots[rank][position] for rank in range(self.world_size)]).mean(0))
        barrier.wait(timeout=60)

    def gather(self, rows):
        slots, barrier = self.shared
        slots[self.rank] = rows.detach().clone()
        barrier.wait(timeout=60)
        whole = torch.stack(list(slots))
        barrier.wait(timeout=60)
        return whole


def test_two_processes_end_with_the_weights_of_one(monkeypatch):
    # In float32: bf16 rounds the gradients of half a batch otherwise than those of a whole one.
    monkeypatch.setattr(finetune, "precision", lambda _: (torch.float32, "for the test"))
    alone, loss = _network()
    _run(alone, loss)
    slots, barrier = [None, None], Barrier(2)
    networks = [_network() for _ in range(2)]
    threads = [
        Thread(target=_run, args=networks[rank], kwargs={"process_group": _Together(rank, 2, (slots, barrier))})
        for rank in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    torch.testing.assert_close(_weights(networks[0][0]), _weights(networks[1][0]))
    # The sums are made in another order, and AdamW divides by small numbers: compare how far training moved.
    moved = (_weights(alone) - _weights(_network()[0])).norm()
    assert float((_weights(networks[0][0]) - _weights(alone)).norm()) < 0.02 * float(moved)


@pytest.fixture
def steps():
    """At each of the optimizer's steps: the norm of all gradients, and the optimizer."""
    seen: list[tuple[float, torch.optim.Optimizer]] = []

    def note(optimizer, *_):
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        seen.append((float(torch.cat([gradient.flatten() for gradient in gradients]).norm()), optimizer))

    hook = register_optimizer_step_pre_hook(note)
    yield seen
    hook.remove()


def test_no_step_is_taken_along_a_longer_gradient_than_clip_norm(steps):
    _run(*_network(), replace(SCHEDULE, epochs=1, clip_norm=100.0))
    unclipped = min(norm for norm, _ in steps)
    steps.clear()
    _run(*_network(), replace(SCHEDULE, epochs=1, clip_norm=unclipped / 2))
    assert steps
    assert all(norm == pytest.approx(unclipped / 2, rel=1e-3) for norm, _ in steps)


def test_weight_decay_is_the_networks_and_not_that_of_class_weights(steps):
    network, loss = _network(dim=16)
    _run(network, loss, replace(SCHEDULE, epochs=1, weight_decay=0.125))
    _, optimizer = steps[0]
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {decay[id(p)] for p in network.backbone.parameters() if p.requires_grad} == {0.125}
    assert {decay[id(p)] for p in (*loss.parameters(), *network.projection.parameters())} == {0.0}


def test_head_epochs_leave_the_backbone_alone():
    network, loss = _network(dim=16)
    before, head = _weights(network.backbone), network.projection.weight.detach().clone()
    _run(network, loss, replace(SCHEDULE, epochs=2, head_epochs=2))
    assert torch.equal(_weights(network.backbone), before)
    assert not torch.equal(network.projection.weight, head)


def test_batch_norm_statistics_and_depthwise_kernels_stay_as_they_were():
    network, loss = _network("mobilenetv2_050")
    kept = {
        key: value.clone() for key, value in network.state_dict().items() if "conv_dw.weight" in key or "running" in key
    }
    assert kept
    _run(network, loss, replace(SCHEDULE, epochs=1))
    for key, value in kept.items():
        assert torch.equal(network.state_dict()[key], value)


def test_early_stopping_goes_back_to_the_best_epoch(tmp_path):
    network, loss = _network()
    figures = iter([0.5, 0.9, 0.8, 0.7, 0.6, 0.5])
    after_best = []

    def on_epoch(report):
        if report.epoch == 2:
            after_best.append(_weights(network))

    history = _run(
        network,
        loss,
        replace(SCHEDULE, epochs=6),
        held_out=lambda _: (next(figures), 1.0),
        patience=2,
        directory=tmp_path / "checkpoints",
        on_epoch=on_epoch,
    )
    assert [round(report.map_at_r, 3) for report in history] == [0.5, 0.9, 0.8, 0.7]
    assert torch.equal(_weights(network), after_best[0])


class _Broken(nn.Module):
    def forward(self, features, labels):
        return features.sum() * torch.nan


def test_a_loss_that_is_not_a_number_stops_the_run_and_keeps_the_checkpoint(tmp_path):
    network, loss = _network()
    _run(network, loss, replace(SCHEDULE, epochs=1), directory=tmp_path)
    with pytest.raises(TrainingFailed, match="not a number in epoch 1") as caught:
        _run(network, _Broken(), directory=tmp_path)
    assert "--lr" in caught.value.hint
    kept = checkpoints.latest(tmp_path)
    assert kept is not None and kept.epoch == 1


def test_too_little_memory_is_said_with_a_way_out():
    class Hungry(nn.Module):
        def forward(self, features, labels):
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(TrainingFailed, match="does not fit in memory") as caught:
        _run(_network()[0], Hungry())
    assert "--images-per-class" in caught.value.hint
