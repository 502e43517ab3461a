"""Large collections are searched by codes in int8 that the store chooses by itself; ranks stay those of float32."""

import threading
import uuid
from pathlib import Path

import numpy as np
import pytest

from tests.workers.store.samples import unit_vectors
from workers.store import Payload, Point
from workers.store.codes import chosen, needs_graph
from workers.store.edge import EdgeStore
from workers.store.optimize import optimise

DIM = 512


@pytest.mark.parametrize("count, dim, kind", [(0, 512, "none"), (20_000, 512, "none"), (21_000, 512, "int8")])
def test_the_size_in_bytes_decides(count: int, dim: int, kind: str) -> None:
    assert chosen("auto", count, dim) == kind


@pytest.mark.parametrize("unindexed, count", [(20_000, 20_000), (21_000, 300_000)])
def test_what_searches_compare_one_by_one_stays_a_tenth_while_a_collection_grows(unindexed: int, count: int) -> None:
    assert not needs_graph(unindexed, count, 512, is_quiet=False)
    assert needs_graph(count // 10 + 21_000, count, 512, is_quiet=False)
    assert needs_graph(unindexed, count, 512, is_quiet=True) == (unindexed > 20_480)


@pytest.mark.parametrize("kind", ["none", "int8", "binary"])
def test_a_setting_outranks_the_size(kind: str) -> None:
    assert chosen(kind, 10, 8) == chosen(kind, 10**7, 512) == kind


def test_similarities_by_codes_are_those_of_float32(tmp_path: Path) -> None:
    """Codes alone find nine of ten; comparing the best exactly finds all, with their true similarities."""
    centres, noise = unit_vectors(50, DIM), unit_vectors(3000, DIM, seed=1)
    vectors = np.repeat(centres, 60, axis=0) + noise
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    store = EdgeStore(tmp_path, codes="int8")
    store.ensure("photos", DIM)
    points = [Point(uuid.UUID(int=n).hex, row, Payload(f"{n}.jpg", None)) for n, row in enumerate(vectors)]
    for start in range(0, len(points), 1000):
        store.upsert("photos", points[start : start + 1000])
    shard = store._shard("photos")
    assert optimise(shard.copy_for_optimising(), DIM, "int8", until=threading.Event())
    shard.exchange()
    assert shard.unindexed == 0
    found, exact = [], []
    for query in vectors[::60]:
        hits = store.query("photos", query, 10)
        true = np.sort(vectors @ query)[::-1][:10]
        assert [hit.similarity for hit in hits] == pytest.approx(
            [float(vectors[uuid.UUID(hit.id).int] @ query) for hit in hits], abs=1e-5
        )
        exact += list(true)
        found += [hit.similarity for hit in hits]
    assert np.mean(np.array(found) >= np.array(exact) - 1e-5) >= 0.99
    assert _has_codes(tmp_path)
    store.close()
    reopened = EdgeStore(tmp_path)
    assert reopened.query("photos", vectors[7], 1)[0].similarity == pytest.approx(1, abs=1e-5)
    reopened.close()


def _has_codes(folder: Path) -> bool:
    return any(path.name.startswith("quantized") for path in folder.rglob("*"))
