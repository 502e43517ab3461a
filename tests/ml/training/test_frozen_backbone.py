"""The cheap form of a backbone computes what the original does, forward and back."""

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional

from ml.training import frozen_backbone


def _backbone(name, seed=0):
    torch.manual_seed(seed)
    backbone = timm.create_model(name, pretrained=False, num_classes=0)
    for module in backbone.modules():  # statistics that are not the trivial ones
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.5, 1.5)
    return backbone.eval()


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "mobilenetv3_small_050", "resnet18", "efficientnet_b0"])
def test_a_prepared_backbone_gives_the_same_features(name):
    x = torch.randn(2, 3, 70, 70)
    original, prepared = _backbone(name), _backbone(name)
    frozen_backbone.prepare(prepared)
    torch.testing.assert_close(prepared(x), original(x), atol=2e-4, rtol=1e-3)


def test_gradients_of_everything_but_depthwise_kernels_are_those_of_the_original():
    # In float64: in float32 a value that rounds to the other side of a ReLU6 changes everything before it.
    x = torch.randn(1, 3, 40, 40, dtype=torch.float64)
    original, prepared = (_backbone("mobilenetv2_050").double() for _ in range(2))
    frozen_backbone.prepare(prepared)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    weights = torch.randn(1, 1280, dtype=torch.float64)
    (original(inputs[0]) * weights).sum().backward()
    (prepared(inputs[1]) * weights).sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad)
    for block in ("blocks.1.0", "blocks.3.2"):
        mine, other = prepared.get_submodule(block), original.get_submodule(block)
        # The shift of a folded BatchNorm is the convolution's bias.
        torch.testing.assert_close(mine.conv_dw.bias.grad, other.bn2.bias.grad)
        assert mine.conv_dw.weight.grad is None


@pytest.mark.parametrize(("stride", "kernel", "size"), [(1, 3, 8), (1, 5, 9), (2, 3, 8), (2, 5, 11), (2, 3, 7)])
def test_a_depthwise_convolution_flows_back_as_torch_computes_it(stride, kernel, size):
    convolution = nn.Conv2d(6, 6, kernel, stride, kernel // 2, groups=6)
    fast = frozen_backbone.DepthwiseConv(convolution)
    first, second = (torch.randn(2, 6, size, size, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    first.requires_grad_(), second.requires_grad_()
    expected = functional.conv2d(first, convolution.weight, convolution.bias, stride, kernel // 2, 1, 6)
    result = fast(second)
    torch.testing.assert_close(result, expected)
    out = torch.randn_like(expected)
    (expected * out).sum().backward()
    expected_bias = convolution.bias.grad.clone()
    convolution.bias.grad = None
    (result * out).sum().backward()
    torch.testing.assert_close(second.grad, first.grad)
    torch.testing.assert_close(convolution.bias.grad, expected_bias)


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18"])
def test_exported_weights_compute_what_the_trained_backbone_does(name):
    x = torch.randn(2, 3, 64, 64)
    trained = _backbone(name)
    frozen_backbone.prepare(trained)
    with torch.no_grad():
        for parameter in trained.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.01)
    fresh = _backbone(name, seed=5)
    frozen_backbone.export(trained, fresh)
    torch.testing.assert_close(fresh(x), trained(x), atol=5e-4, rtol=1e-3)
