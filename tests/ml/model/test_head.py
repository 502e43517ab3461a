"""Heads in NumPy: beside torch, independent of the batch to the bit, and to tensors and back."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from ml.model.head import Head, LinearMap, unit_length

RNG = np.random.default_rng(0)


def linear(out: int, into: int, bias: bool = True) -> LinearMap:
    weight = RNG.normal(size=(out, into)).astype(np.float32)
    return LinearMap(weight, RNG.normal(size=out).astype(np.float32) if bias else None)


def in_torch(head: Head, views: np.ndarray) -> np.ndarray:
    """The same with torch's own layers."""

    def mapped(x: torch.Tensor, linear_map: LinearMap) -> torch.Tensor:
        bias = None if linear_map.bias is None else torch.from_numpy(linear_map.bias)
        return functional.linear(x, torch.from_numpy(linear_map.weight), bias)

    x = torch.from_numpy(views)
    if head.layer_norm:
        x = functional.layer_norm(x, x.shape[-1:])
    if head.projection is not None:
        x = mapped(x, head.projection)
    x = functional.normalize(functional.normalize(x, dim=-1).mean(0), dim=-1)
    for linear_map in head.tuning:
        x = functional.normalize(mapped(x, linear_map), dim=-1)
    return x.numpy()


HEADS = [
    Head(False),
    Head(True),
    Head(True, linear(12, 40, bias=False)),
    Head(False, linear(12, 40)),
    Head(True, linear(12, 40), (linear(12, 12), linear(5, 12, bias=False))),
    Head(False, None, (linear(7, 40),)),
]


@pytest.mark.parametrize("head", HEADS, ids=range(len(HEADS)))
@pytest.mark.parametrize("views", [1, 2])
def test_it_computes_what_torch_does(head, views):
    features = RNG.normal(2, 3, (views, 19, 40)).astype(np.float32)
    np.testing.assert_allclose(head(features), in_torch(head, features), atol=2e-6)


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.booleans())
def test_a_vector_does_not_depend_on_the_others_to_the_bit(count, step, is_mirrored):
    head = Head(True, linear(512, 1280), (linear(512, 512),))
    features = np.random.default_rng(count).normal(size=(1 + is_mirrored, count, 1280)).astype(np.float32)
    apart = [head(features[:, start : start + step]) for start in range(0, count, step)]
    assert np.array_equal(np.concatenate(apart), head(features))


def test_stored_vectors_are_tuned_without_their_images():
    head = Head(True, linear(12, 40))
    tuned = Head(True, head.projection, (linear(12, 12),))
    features = RNG.normal(size=(2, 9, 40)).astype(np.float32)
    np.testing.assert_array_equal(tuned.tune(head(features)), tuned(features))


@pytest.mark.parametrize("head", HEADS, ids=range(len(HEADS)))
def test_tensors_hold_all_of_it(head):
    again = Head.from_tensors(head.tensors(), layer_norm=head.layer_norm)
    features = RNG.normal(size=(1, 3, 40)).astype(np.float32)
    np.testing.assert_array_equal(again(features), head(features))


@pytest.mark.parametrize(
    "names", [["projection.bias"], ["tuning.1.weight"], ["other.weight"], ["tuning.0.weight", "tuning.2.weight"]]
)
def test_missing_and_unknown_tensors_are_refused(names):
    with pytest.raises(ValueError, match="the head"):
        Head.from_tensors({name: np.zeros((3, 3), np.float32) for name in names}, layer_norm=False)


def test_impossible_shapes_are_refused():
    with pytest.raises(ValueError, match=r"must be \[out, in\]"):
        LinearMap(np.zeros(3, np.float32))
    with pytest.raises(ValueError, match=r"must be \[out, in\]"):
        LinearMap(np.zeros((3, 2), np.float32), np.zeros(2, np.float32))


def test_a_row_of_zeros_stays_one():
    assert not unit_length(np.zeros((1, 4), np.float32)).any()
