"""Decoded images and features of an untouched network, computed once and shared by processes that train side by side.

One actor, on the node where the photos are, decodes and keeps; the others see its arrays in Ray's object store, without
a copy on the same node, and need no access to the files themselves.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from torch import Tensor

from ml.data import decoding
from ml.data.datasets import Dataset, Progress
from ml.data.decoding import Pixels
from ml.errors import LookalikeError
from ml.preprocessing import Preprocessing
from ml.training.features import Cache

# Computing features of many photos takes minutes, and whoever does may die: a claim is renewed, or falls to who asks.
_CLAIM_S = 90.0
_RENEW_S = 30.0
_UNBOUNDED = 2**62  # the object store itself spills to disk what does not fit


class _CacheActor:
    """The actor. Its methods run in threads."""

    def __init__(self) -> None:
        self._decoding = threading.Lock()
        self._pixels: dict[Any, tuple[Any, Dataset, str]] = {}
        self._features: dict[str, Any] = {}
        self._claims: dict[str, float] = {}
        self.decoded = 0

    def pixels(self, data: Dataset, preprocessing: Preprocessing) -> tuple[Any, Dataset, str] | LookalikeError:
        key = (data.fingerprint, str(preprocessing))
        with self._decoding:
            if key not in self._pixels:
                try:
                    decoded = decoding.decode(data, preprocessing, memory_bytes=_UNBOUNDED)
                except LookalikeError as error:
                    return error
                # Put by this actor, which thereby owns it: it outlives the trial that asked.
                self._pixels[key] = (
                    [ray.put(decoded.array)],
                    decoded.dataset,
                    f"{decoded.array.nbytes / 2**20:.0f} MB, shared",
                )
                self.decoded += len(data)
            return self._pixels[key]

    def features(self, key: str) -> Any:
        """[reference], or None: then the caller is to compute them; or "wait"."""
        if key in self._features:
            return self._features[key]
        if time.monotonic() - self._claims.get(key, -_CLAIM_S) < _CLAIM_S:
            return "wait"
        self.claim(key)
        return None

    def claim(self, key: str) -> None:
        """Says that somebody is computing these features."""
        self._claims[key] = time.monotonic()

    def keep(self, key: str, features: np.ndarray) -> None:
        self._features[key] = [ray.put(np.array(features))]

    def count(self) -> int:
        """Images decoded so far."""
        return self.decoded


def start_cache_actor() -> Any:
    """Starts the actor on this node. It ends when its handle and this process do."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(_CacheActor).options(num_cpus=0, max_concurrency=16, scheduling_strategy=here).remote()


class SharedCache(Cache):
    """A cache that many processes share through the cache actor."""

    def __init__(self, cache_actor: Any) -> None:
        super().__init__()
        self._actor = cache_actor

    def pixels(self, data: Dataset, preprocessing: Preprocessing, on_progress: Progress | None) -> Pixels:
        key = (data.fingerprint, str(replace(preprocessing, mirror=False)))
        if key not in self._known:
            if on_progress:
                on_progress("decoding", 0, len(data))
            answer = ray.get(self._actor.pixels.remote(data, replace(preprocessing, mirror=False)))
            if isinstance(answer, LookalikeError):
                raise answer
            (reference,), dataset, where = answer
            self._known[key] = Pixels(dataset, ray.get(reference), where)
        return self._known[key]

    def features(self, key: str, compute: Callable[[], Tensor]) -> Tensor:
        while (answer := ray.get(self._actor.features.remote(key))) == "wait":
            time.sleep(0.1)
        if answer is not None:
            return torch.from_numpy(np.array(ray.get(answer[0])))
        with self._claimed(key):
            features = compute()
        ray.get(self._actor.keep.remote(key, features.numpy()))
        return features

    @contextlib.contextmanager
    def _claimed(self, key: str) -> Iterator[None]:
        """Keeps the claim on features while the block computes them."""
        ended = threading.Event()

        def renew() -> None:
            while not ended.wait(_RENEW_S):
                self._actor.claim.remote(key)

        threading.Thread(target=renew, name="claim on features", daemon=True).start()
        try:
            yield
        finally:
            ended.set()
