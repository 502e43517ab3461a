"""The head in closed form."""

import torch
from torch.nn import functional

from ml.evaluation.metrics import mean_average_precision_at_r
from ml.training.closed_form_head import closed_form_head


def _noisy(classes, seed, each=20, dim=32):
    """Classes that differ in a few directions, under strong noise in others that all classes share."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat_interleave(each)
    signal = torch.randn(classes, dim, generator=generator)[labels]
    noise = torch.randn(len(labels), dim, generator=generator) * torch.cat(
        [torch.full((2,), 8.0), torch.full((dim - 2,), 0.5)]
    )
    return signal + noise, labels


def test_whitened_features_vary_equally_within_classes():
    features, labels = _noisy(30, 0)
    weight, bias = closed_form_head(features, labels, dim=32, shrinkage=1e-6)
    mapped = features @ weight.T + bias
    within = torch.cat([mapped[labels == c] - mapped[labels == c].mean(0) for c in labels.unique()])
    torch.testing.assert_close(within.T @ within / len(within), torch.eye(32), atol=3e-2, rtol=0)


def test_it_centres_and_sorts_by_importance():
    features, labels = _noisy(30, 0)
    weight, bias = closed_form_head(features, labels, dim=32)
    mapped = features @ weight.T + bias
    torch.testing.assert_close(mapped.mean(0), torch.zeros(32), atol=1e-3, rtol=0)
    variance = mapped.var(0)
    assert (variance[:-1] >= variance[1:] - 1e-4).all()


def test_classes_that_it_never_saw_gain():
    features, labels = _noisy(30, 0)
    weight, bias = closed_form_head(features, labels, dim=16)
    unseen, unseen_labels = _noisy(20, 1)
    before = mean_average_precision_at_r(functional.normalize(unseen, dim=1), unseen_labels)
    after = mean_average_precision_at_r(functional.normalize(unseen @ weight.T + bias, dim=1), unseen_labels)
    assert after > before + 0.1


def test_fewer_images_than_dimensions_and_identical_ones_are_no_trouble():
    weight, bias = closed_form_head(torch.ones(4, 32), torch.tensor([0, 0, 1, 1]), dim=64)
    assert weight.shape == (32, 32)
    assert torch.isfinite(weight).all() and torch.isfinite(bias).all()
