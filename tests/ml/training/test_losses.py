"""NormSoftmax against pytorch-metric-learning's on the same weights, and every name."""

import pytest
import torch
from pytorch_metric_learning.losses import NormalizedSoftmaxLoss
from torch.nn import functional

from ml.errors import LookalikeError
from ml.training import losses


def test_normsoftmax_has_the_value_and_gradients_of_pytorch_metric_learning():
    torch.manual_seed(0)
    features, labels = torch.randn(12, 16), torch.randint(5, (12,))
    theirs = NormalizedSoftmaxLoss(num_classes=5, embedding_size=16, temperature=0.05)
    ours = losses.NormSoftmax(5, 16, weight=theirs.W.detach().T)
    mine, other = (features.clone().requires_grad_() for _ in range(2))
    value, expected = ours(mine, labels), theirs(other, labels)
    value.backward()
    expected.backward()
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(mine.grad, other.grad)
    torch.testing.assert_close(ours.weight.grad, theirs.W.grad.T)


def test_normsoftmax_ignores_the_length_of_features_and_weights():
    torch.manual_seed(0)
    features, labels = torch.randn(6, 8), torch.arange(6) % 3
    loss = losses.NormSoftmax(3, 8)
    before = loss(features, labels)
    with torch.no_grad():
        loss.weight.mul_(7)
    torch.testing.assert_close(loss(features * 3, labels), before)


@pytest.mark.parametrize("name", losses.NAMES)
def test_every_named_loss_is_finite_and_gives_the_features_a_gradient(name):
    torch.manual_seed(0)
    features, labels = torch.randn(16, 8, requires_grad=True), torch.arange(16) % 4
    loss = losses.make(name, 4, 8, class_means=functional.normalize(torch.randn(4, 8), dim=1))
    value = loss(features, labels)
    value.backward()
    assert torch.isfinite(value)
    assert features.grad is not None and float(features.grad.abs().sum()) > 0


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(LookalikeError, match=r"loss must be one of normsoftmax, .*, got 'magic'") as caught:
        losses.make("magic", 2, 2)
    assert "proxy_anchor" in caught.value.message
