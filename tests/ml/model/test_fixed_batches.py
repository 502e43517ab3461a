"""Images come out as one pass would have them, whatever batches they travel in. The same code runs on a GPU."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ml.model.backend import Interrupted
from ml.model.fixed_batches import SIZES, FixedBatches, half_forward, pieces

CPU = torch.device("cpu")


class Summing:
    """Two numbers for each image; notes the sizes of its batches."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, pixels: Tensor) -> Tensor:
        self.sizes.append(len(pixels))
        flat = pixels.flatten(1).float()
        return torch.stack([flat.sum(1), flat.max(1).values], dim=1)


def images(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 255, (count, 4, 4, 3), np.uint8)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 17, 24, 33, 64, 127, 300, 700])
def test_every_image_gets_its_own_vector(count: int) -> None:
    given, model = images(count), Summing()
    run = FixedBatches(model, CPU, 4, 2)
    for _ in range(2):  # memory is used again
        flat = given.reshape(count, 48).astype(np.float32)
        expected = np.stack([flat.sum(1), flat.max(1)], axis=1) if count else np.empty((0, 2))
        assert np.array_equal(run(given), expected)
    assert np.array_equal(run(torch.from_numpy(given)), expected)
    assert set(model.sizes) <= set(SIZES)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, [(1, 1)]),
        (2, [(2, 4)]),
        (3, [(3, 4)]),
        (17, [(16, 16), (1, 1)]),
        (24, [(16, 16), (8, 16)]),
        (32, [(32, 64)]),
        (300, [(256, 256), (44, 64)]),
        (600, [(256, 256), (256, 256), (64, 64), (16, 16), (8, 16)]),
    ],
)
def test_a_batch_is_filled_up_where_half_of_it_is_used(count: int, expected: list[tuple[int, int]]) -> None:
    assert list(pieces(count)) == expected


def test_it_is_interrupted_between_two_batches_and_can_go_on_afterwards() -> None:
    model = Summing()
    run = FixedBatches(model, CPU, 4, 2, sizes=(1, 4))
    with pytest.raises(Interrupted):
        run(images(20), lambda: len(model.sizes) == 2)
    assert model.sizes == [4, 4]
    assert len(run(images(3))) == 3


def test_a_pass_in_16_bits_gives_nearly_the_same_and_casts_weights_once() -> None:
    torch.manual_seed(0)
    model = nn.Module()
    model.backbone = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model.forward = lambda pixels: functional.normalize(  # type: ignore[method-assign]
        model.backbone(pixels.permute(0, 3, 1, 2).float() / 255).float(), dim=1
    )
    given = torch.from_numpy(images(5))
    expected = model.eval()(given)
    found = half_forward(model, CPU, torch.bfloat16)(given)
    assert (found.float() * expected).sum(1).min() > 0.999
    assert [each.dtype for each in model.backbone[0].parameters()] == 2 * [torch.bfloat16]
    assert model.backbone[1].weight.dtype == torch.float32
