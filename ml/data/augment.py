"""Augmentation of whole batches: crop, turn, flip, colours and erasing, as tensors.

One `grid_sample` does crop, rotation, flip and scaling together, and one 3x3 matrix an image does all colours. On two
cores that is about ten times as cheap as torchvision.transforms.v2 image by image, which would take as long as the
training step itself. The draws are torchvision's: RandomResizedCrop, RandomRotation, ColorJitter, RandomErasing.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_GRAY = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Augmentation:
    """How strongly to vary images.

    Args:
        scale: smallest share of the area that a crop keeps; 1 crops nothing.
        ratio: largest factor by which a crop's aspect ratio is changed, and its inverse.
        rotation: largest angle, in degrees, both ways.
        jitter: of brightness, contrast and saturation: factors in 1 ± jitter.
        hue: largest shift in turns, both ways.
        erasing: probability of a gray rectangle over 2 to 33 % of the image.
        flip: mirror half of the images.
    """

    scale: float = 0.3
    ratio: float = 4 / 3
    rotation: float = 20.0
    jitter: float = 0.4
    hue: float = 0.02
    erasing: float = 0.25
    flip: bool = True

    @staticmethod
    def draw(count: int, generator: torch.Generator) -> Tensor:
        """The random numbers that one batch takes, float32 [count, 16] in 0..1."""
        return torch.rand(count, 16, generator=generator)

    def __call__(self, pixels: Tensor, size_px: int, draws: Tensor) -> Tensor:
        """Varies a batch.

        Args:
            pixels: uint8 [n, h, w, 3].
            size_px: side of the result; best not much smaller than h and w, there is no smoothing.
            draws: of `draw`, one row per image; drawn for the whole batch before processes share it, and on the CPU, so
                that an image is varied alike on any device and number of processes.

        Returns:
            float [n, 3, size_px, size_px] in 0..1, channels last in memory.
        """
        count = len(pixels)
        draws = draws.to(pixels.device)
        x = pixels.permute(0, 3, 1, 2).float()
        grid = functional.affine_grid(self._placement(draws[:, :6]), [count, 3, size_px, size_px], align_corners=False)
        # Reflected edges: black corners would tell the network how an image was turned.
        x = functional.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False) / 255
        x = self._recolour(x, draws[:, 6:10])
        return self._erase(x, draws[:, 10:15]).contiguous(memory_format=torch.channels_last)

    def _placement(self, draws: Tensor) -> Tensor:
        """Affine maps float [n, 2, 3] from the result's square [-1, 1]² to the part of the image that it shows."""
        area = self.scale + (1 - self.scale) * draws[:, 0]
        ratio = torch.exp((2 * draws[:, 1] - 1) * math.log(self.ratio))
        width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
        angle = (2 * draws[:, 4] - 1) * math.radians(self.rotation)
        mirror = torch.where((draws[:, 5] < 0.5) & self.flip, -1.0, 1.0)
        row_x = torch.stack(
            [width * angle.cos() * mirror, -height * angle.sin(), (1 - width) * (2 * draws[:, 2] - 1)], 1
        )
        row_y = torch.stack(
            [width * angle.sin() * mirror, height * angle.cos(), (1 - height) * (2 * draws[:, 3] - 1)], 1
        )
        return torch.stack([row_x, row_y], 1)

    def _recolour(self, x: Tensor, draws: Tensor) -> Tensor:
        if not self.jitter and not self.hue:
            return x.clamp(0, 1)
        brightness, contrast, saturation = ((1 + (2 * draws[:, i] - 1) * self.jitter)[:, None, None] for i in range(3))
        gray = torch.tensor(_GRAY, device=x.device)
        # Saturation and hue are linear in the colours; hue turns the chroma plane of YIQ.
        identity, to_gray = torch.eye(3, device=x.device), gray.expand(3, 3)
        matrix = (saturation * identity + (1 - saturation) * to_gray) @ _hue_turn((2 * draws[:, 3] - 1) * self.hue)
        colours = torch.einsum("nij,njhw->nihw", matrix * brightness * contrast, x)
        # Contrast keeps the mean gray level, which is that of the brightened image.
        mean = torch.einsum("i,nihw->n", gray, x) / (x.shape[2] * x.shape[3])
        shift = mean[:, None, None] * brightness * (1 - contrast)
        return (colours + shift[..., None]).clamp(0, 1)

    def _erase(self, x: Tensor, draws: Tensor) -> Tensor:
        if not self.erasing:
            return x
        size = x.shape[2]
        area, ratio = 0.02 + 0.31 * draws[:, 1], torch.exp((2 * draws[:, 2] - 1) * math.log(3.3))
        height, width = (area * ratio).sqrt().clamp(max=1) * size, (area / ratio).sqrt().clamp(max=1) * size
        top, left = (size - height) * draws[:, 3], (size - width) * draws[:, 4]
        line = torch.arange(size, device=x.device)
        rows = (line >= top[:, None]) & (line < (top + height)[:, None])
        columns = (line >= left[:, None]) & (line < (left + width)[:, None])
        is_erased = rows[:, :, None] & columns[:, None, :] & (draws[:, 0] < self.erasing)[:, None, None]
        return torch.where(is_erased[:, None], 0.5, x)


NONE = Augmentation(scale=1, ratio=1, rotation=0, jitter=0, hue=0, erasing=0, flip=False)


def _hue_turn(turns: Tensor) -> Tensor:
    """Colour matrices float [n, 3, 3] that turn the hue."""
    yiq = torch.tensor([[*_GRAY], [0.596, -0.274, -0.321], [0.211, -0.523, 0.311]], device=turns.device)
    cos, sin = (2 * math.pi * turns).cos(), (2 * math.pi * turns).sin()
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    turn = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], 1).view(-1, 3, 3)
    rotation: Tensor = torch.linalg.inv(yiq) @ turn @ yiq
    return rotation
