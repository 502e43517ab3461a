"""Augmentation: what it may change and what not."""

import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from ml.data.augment import NONE, Augmentation, _hue_turn


def _photo(count=4, size=40):
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 5, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)
    return (smooth * 255).byte().permute(0, 2, 3, 1).contiguous()


def _draw(count, seed=0):
    return Augmentation.draw(count, torch.Generator().manual_seed(seed))


def test_without_any_strength_the_image_stays():
    photo = _photo()
    result = NONE(photo, 40, _draw(4))
    torch.testing.assert_close(result, photo.permute(0, 3, 1, 2) / 255, atol=1e-4, rtol=0)


def test_the_result_is_in_range_of_the_wanted_size_and_channels_last():
    result = Augmentation(jitter=0.9, hue=0.5, erasing=1)(_photo(), 24, _draw(4))
    assert result.shape == (4, 3, 24, 24)
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert ((result >= 0) & (result <= 1)).all()


def test_the_same_draws_give_the_same_images_in_any_share_of_the_batch():
    photo, draws, vary = _photo(6), _draw(6), Augmentation()
    whole = vary(photo, 32, draws)
    torch.testing.assert_close(whole[1::2], vary(photo[1::2], 32, draws[1::2]))
    assert not torch.equal(whole, vary(photo, 32, _draw(6, seed=1)))


def test_a_flip_is_a_mirror_image():
    draws = torch.full((2, 16), 0.5)
    draws[:, 5] = torch.tensor([0.0, 0.9])
    photo = _photo(1).expand(2, -1, -1, -1)
    flipped, kept = Augmentation(scale=1, ratio=1, rotation=0, jitter=0, hue=0, erasing=0)(photo, 40, draws)
    torch.testing.assert_close(flipped.flip(2), kept, atol=1e-4, rtol=0)


def test_a_crop_shows_a_part_enlarged():
    draws = torch.full((1, 16), 0.5)
    draws[:, 0] = 0.0  # the smallest area
    draws[:, 5] = 0.9
    photo = _photo(1, 80)
    result = Augmentation(scale=0.25, ratio=1, rotation=0, jitter=0, hue=0, erasing=0)(photo, 40, draws)
    torch.testing.assert_close(result, photo[:, 20:60, 20:60].permute(0, 3, 1, 2) / 255, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("column", "adjust"),
    [(6, reference.adjust_brightness), (7, reference.adjust_contrast), (8, reference.adjust_saturation)],
)
def test_colours_change_as_in_torchvision(column, adjust):
    draws = torch.full((1, 16), 0.5)
    draws[:, column] = 0.1  # a factor of 1 - 0.8 * 0.4
    draws[:, 5] = 0.9
    photo = _photo(1)
    result = Augmentation(scale=1, ratio=1, rotation=0, jitter=0.4, hue=0, erasing=0)(photo, 40, draws)
    expected = adjust(photo.permute(0, 3, 1, 2) / 255, 0.68)
    torch.testing.assert_close(result, expected, atol=5e-3, rtol=0)


def test_a_turned_hue_keeps_gray_and_comes_round():
    turn = _hue_turn(torch.tensor([0.3, 1.0]))
    torch.testing.assert_close(turn[0] @ torch.ones(3), torch.ones(3), atol=5e-3, rtol=0)
    torch.testing.assert_close(turn[1], torch.eye(3), atol=1e-5, rtol=0)


def test_erasing_leaves_a_gray_rectangle_of_the_drawn_size():
    draws = torch.full((1, 16), 0.5)
    draws[:, 5], draws[:, 10] = 0.9, 0.0
    photo = torch.full((1, 64, 64, 3), 255, dtype=torch.uint8)
    result = Augmentation(scale=1, ratio=1, rotation=0, jitter=0, hue=0, erasing=1)(photo, 64, draws)
    share = float((result == 0.5).float().mean())
    assert share == pytest.approx(0.02 + 0.31 / 2, abs=0.01)
