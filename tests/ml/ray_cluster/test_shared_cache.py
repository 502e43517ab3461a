"""Features are computed once, however long that takes, and again when whoever computed them has died."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch

from ml.ray_cluster import shared_cache
from ml.ray_cluster.shared_cache import SharedCache
from tests.processes import wait_for


class Clock:
    """What the actor takes for the time, in seconds."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(shared_cache, "time", clock)
    return clock


@pytest.fixture
def actor(monkeypatch: pytest.MonkeyPatch) -> shared_cache._CacheActor:
    """In this process, where its clock can be set."""
    monkeypatch.setattr(shared_cache, "ray", SimpleNamespace(get=lambda value: value, put=lambda value: value))
    return shared_cache._CacheActor()


def _remote(actor: shared_cache._CacheActor) -> SimpleNamespace:
    names = ("features", "claim", "keep")
    return SimpleNamespace(**{name: SimpleNamespace(remote=getattr(actor, name)) for name in names})


def test_a_claim_lasts_as_long_as_its_features_are_computed(
    actor: shared_cache._CacheActor, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_cache, "_RENEW_S", 0.01)
    computing, finish = threading.Event(), threading.Event()

    def compute() -> torch.Tensor:
        computing.set()
        assert finish.wait(60)
        return torch.ones(2, 3)

    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(SharedCache(_remote(actor)).features, "key", compute)
        assert computing.wait(60)
        try:
            for _ in range(5):
                clock.now += 0.9 * shared_cache._CLAIM_S
                wait_for(lambda: actor._claims["key"] == clock.now)
                assert actor.features("key") == "wait"
        finally:
            finish.set()
        assert torch.equal(first.result(), torch.ones(2, 3))
    assert torch.equal(SharedCache(_remote(actor)).features("key", pytest.fail), torch.ones(2, 3))


def test_features_of_a_process_that_died_are_computed_by_who_asks_next(
    actor: shared_cache._CacheActor, clock: Clock
) -> None:
    assert actor.features("key") is None
    clock.now += shared_cache._RENEW_S
    assert actor.features("key") == "wait"
    clock.now += shared_cache._CLAIM_S
    assert actor.features("key") is None
