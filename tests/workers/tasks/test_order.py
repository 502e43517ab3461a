"""What is certain stays first; the others are ordered by their neighbours, and none is lost."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.store import Hit, Payload
from workers.tasks.order import ordered


def hits_of(query: np.ndarray, rows: np.ndarray) -> list[Hit]:
    found = [Hit(f"{n:032x}", float(row @ query), Payload(f"{n}.jpg", None), row) for n, row in enumerate(rows)]
    return sorted(found, key=lambda hit: -hit.similarity)


def shown_of(query: np.ndarray, hits: list[Hit], *, rerank: bool) -> list[Hit]:
    vectors = np.stack([hit.vector for hit in hits]) if hits else query[None][:0]
    return ordered(query, hits, vectors, rerank=rerank)


def random_rows(seed: int, count: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, 6)) + 0.7
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("rerank", [False, True])
@given(seed=st.integers(0, 1000), count=st.integers(0, 60), copies=st.integers(0, 3))
def test_copies_and_the_nearest_stay_first_and_every_hit_is_shown_once(rerank, seed, count, copies):
    rows = random_rows(seed, count + 1)
    query = rows[0]
    hits = hits_of(query, np.concatenate([np.repeat(query[None], copies, 0), rows[1:]]))
    shown = shown_of(query, hits, rerank=rerank)
    assert shown[: copies + 1] == hits[: copies + 1]
    assert sorted(hit.id for hit in shown) == sorted(hit.id for hit in hits)


def test_hits_beyond_the_nearest_fifty_stay_behind_them_in_their_order():
    rows = random_rows(3, 70)
    hits = hits_of(rows[0], rows[1:])
    shown = shown_of(rows[0], hits, rerank=False)
    assert shown[50:] == hits[50:]
    assert shown[:50] != hits[:50]
