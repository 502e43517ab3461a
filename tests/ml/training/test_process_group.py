"""Losses over pairs and triplets on several processes: the gradients of one process, over real gloo connections."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed, multiprocessing, nn

from ml.errors import LookalikeError
from ml.training import losses
from ml.training.process_group import TorchProcessGroup, check_cards, check_gpus_here, gathered

LOSSES = ("triplet", "multi_similarity", "supcon", "contrastive", "proxy_anchor", "normsoftmax")
CLASSES, DIM = 4, 8
BATCH = 14  # four processes do not divide it


def _gradients(name: str, group: TorchProcessGroup | None) -> np.ndarray:
    """Of a small network and the loss's own weights, on this process's share of one batch."""
    torch.manual_seed(0)
    images = torch.randn(BATCH, 12, dtype=torch.float32)
    labels = torch.arange(BATCH) % CLASSES
    network = nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, DIM))
    loss = losses.make(name, CLASSES, DIM)
    if group is None:
        value = loss(network(images), labels)
    else:
        own = network(images[group.rank :: group.world_size])
        value = loss(gathered(own, BATCH, group), labels)
    value.backward()
    gradients = [p.grad for p in (*network.parameters(), *loss.parameters()) if p.grad is not None]
    if group is not None:
        group.mean(gradients)
    return torch.cat([gradient.flatten() for gradient in gradients]).numpy()


def _work(rank: int, world_size: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world_size)
    found = {name: _gradients(name, TorchProcessGroup()) for name in LOSSES}
    np.savez(Path(folder) / f"{rank}.npz", **found)
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_gradients_are_those_of_one_process(processes: int, tmp_path: Path) -> None:
    multiprocessing.spawn(_work, (processes, str(tmp_path)), nprocs=processes)
    for name in LOSSES:
        alone = _gradients(name, None)
        assert np.abs(alone).max() > 1e-3, "the loss teaches nothing"
        for rank in range(processes):
            np.testing.assert_allclose(np.load(tmp_path / f"{rank}.npz")[name], alone, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("workers", "gpus", "available", "message"),
    [
        (2, 3, None, "gpus must be 0 or the number of workers, 2, got 3: each process trains on a card of its own"),
        (2, 1, 8, "gpus must be 0 or the number of workers, 2, got 1"),
        (4, 4, 2, "gpus must be <= 2, the GPUs that Ray has, got 4"),
        (2, 2, 0, "there is no GPU that Ray has, got gpus 2"),
        (4, None, 2, "workers must be <= 2, the GPUs that Ray has, got 4: two never share one"),
    ],
)
def test_two_processes_never_share_a_card(workers, gpus, available, message):
    with pytest.raises(LookalikeError, match=message):
        check_cards(workers, gpus, available)


def test_a_card_for_each_process_or_none_at_all():
    for workers, gpus, available in ((2, 2, 2), (2, 0, 1), (2, None, 0), (2, None, 4), (3, 3, None)):
        check_cards(workers, gpus, available)


@pytest.mark.parametrize(
    ("gpus", "available", "message", "hint"),
    [
        (1, 0, "there is no GPU that PyTorch can use, got gpus 1", "leave --gpus out to train on CPUs"),
        (3, 2, "gpus must be <= 2, the GPUs that PyTorch can use, got 3", "set RAY_ADDRESS for a cluster"),
    ],
)
def test_more_gpus_than_there_are_here_are_refused_with_what_there_is(
    gpus: int, available: int, message: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: available)
    with pytest.raises(LookalikeError, match=message) as refused:
        check_gpus_here(gpus)
    assert hint in refused.value.hint
    for fine in (None, 0, available):
        check_gpus_here(fine)


def test_a_card_too_many_for_the_processes_is_told_every_way_out() -> None:
    with pytest.raises(LookalikeError) as refused:
        check_cards(2, 1)
    assert refused.value.hint == "--workers 1, --gpus 2, or --gpus 0 for CPUs"
