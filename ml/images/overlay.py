"""Lays one image over another: where, how large, turned how, so that shades agree best. NumPy alone.

The middle of one is looked for in the other, in nine sizes, four turns and mirrored; where it fits best, position, size
and angle are refined by least squares on the shades, whose gain and offset are free (Lucas and Kanade, 1981;
Evangelidis and Psarakis, 2008).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

_SEARCHED_PX = 32  # longer side
_REFINED_PX = ((48, 6), (96, 4))  # longer sides, and steps
_SIZES = (0.57, 0.65, 0.73, 0.81, 0.9, 1.0, 1.11, 1.23, 1.37)
_MIDDLE = 0.7  # of the shorter side
_FITS = 0.55  # correlation of the middle from which a position is tried
_AGREES = 0.6  # and of everything that overlaps, from which it is kept
_TRIED = 2  # positions
_FLAT = 4.0  # grey levels


class Shape:
    """An image's shades in three sizes, float32 [h, w], and what searches of it and in it need."""

    def __init__(self, image: Image.Image) -> None:
        """`image` is in mode L."""
        self.searched = _shrunk(image, _SEARCHED_PX)
        self.refined = [_shrunk(image, size) for size, _ in _REFINED_PX]
        self._middles: list[tuple[float, int, np.ndarray]] | None = None

    def middles(self) -> list[tuple[float, int, np.ndarray]]:
        """Size, side in pixels, and the middle in its eight turns, standardised: float32 [8, side²]."""
        if self._middles is None:
            height, width = self.searched.shape
            side = _MIDDLE * min(height, width)
            box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
            whole = Image.fromarray(self.searched)
            self._middles = []
            for size in _SIZES:
                pixels = max(6, round(side * size))
                middle = np.asarray(whole.resize((pixels, pixels), Image.Resampling.BILINEAR, box=box), np.float32)
                turned = np.stack([_turned(middle, turn).ravel() for turn in range(8)])
                self._middles.append((pixels / side, pixels, _standardised(turned, 1e-6)))
        return self._middles

    def windows(self, side: int) -> np.ndarray:
        """Every square of that side, standardised: float32 [rows, columns, side²]; none where it does not fit."""
        if side > min(self.searched.shape):
            return np.empty((0, 0, side * side), np.float32)
        squares = sliding_window_view(self.searched, (side, side))
        rows, columns = squares.shape[:2]
        return _standardised(squares.reshape(rows, columns, side * side), _FLAT * side)


@dataclass(frozen=True)
class Transform:
    """Where the points of one image lie in another: linear @ point + shift.

    Points are (y, x) from the middle of an image, in longer sides of it.
    """

    linear: np.ndarray
    shift: np.ndarray

    @property
    def scale(self) -> float:
        return float(np.sqrt(abs(np.linalg.det(self.linear))))

    def inverse(self) -> "Transform":
        linear = np.linalg.inv(self.linear)
        return Transform(linear, -linear @ self.shift)


@dataclass(frozen=True)
class Placed:
    """One image laid over another.

    Args:
        transform: from the upper to the lower.
        upper: float32 [h, w], its shades.
        lower: float32 [h, w], the shades under them.
        is_over: bool [h, w], where there is something under them.
    """

    transform: Transform
    upper: np.ndarray
    lower: np.ndarray
    is_over: np.ndarray

    @property
    def is_in_place(self) -> bool:
        """Whether it lies upright over the whole of the other."""
        moved = np.abs(self.transform.linear - np.eye(2)).max()
        return bool(moved < 0.015 and np.abs(self.transform.shift).max() < 0.01)

    def blocks(self, side: int, flat: float) -> np.ndarray:
        """The correlation of each block of both, those left out where one of them is flat or juts out: float [n]."""
        height, width = (length // side * side for length in self.upper.shape)

        def cut(values: np.ndarray) -> np.ndarray:
            parts = values[:height, :width].reshape(height // side, side, width // side, side)
            return parts.swapaxes(1, 2).reshape(-1, side * side)

        upper, lower, is_over = cut(self.upper), cut(self.lower), cut(self.is_over)
        upper, lower = upper - upper.mean(1, keepdims=True), lower - lower.mean(1, keepdims=True)
        spreads = np.stack([upper.std(1), lower.std(1)])
        used = is_over.all(1) & (spreads.max(0) >= flat)
        product = (upper * lower).mean(1)[used]
        correlation: np.ndarray = product / np.maximum(spreads[:, used], flat / 6).prod(0)
        return correlation


def overlays(first: Shape, second: Shape) -> Iterator[Placed]:
    """The likeliest ways to lay one over the other; none for most images that have nothing in common."""
    # What is in the middle of a part of a photo need not be in the middle of the photo.
    yield from _overlays(first, second)
    yield from _overlays(second, first)


def _overlays(first: Shape, second: Shape) -> Iterator[Placed]:
    """By where the middle of the first is found in the second."""
    for found in _searched(first, second):
        upper, lower, transform = first, second, found
        if transform.scale < 1:  # shades are read from the finer one
            upper, lower, transform = second, first, found.inverse()
        placed = None
        for level, (_, steps) in enumerate(_REFINED_PX):
            placed = _refined(upper.refined[level], lower.refined[level], transform, steps)
            if placed is None:
                break
            transform = placed.transform
        if placed is not None:
            yield placed


def _searched(first: Shape, second: Shape) -> list[Transform]:
    """Where the middle of the first fits best in the second, at most `_TRIED` places, the best first."""
    found = []
    centre = (np.array(second.searched.shape) - 1) / 2
    for scale, side, turned in first.middles():
        windows = second.windows(side)
        if not windows.size:
            continue
        fits = windows @ turned.T
        best = fits.reshape(-1, 8).argmax(0)
        for turn, position in enumerate(best):
            row, column = divmod(int(position), fits.shape[1])
            if (fit := float(fits[row, column, turn])) >= _FITS:
                middle = np.array([row, column]) + (side - 1) / 2
                found.append((fit, turn, scale, (middle - centre) / max(second.searched.shape)))
    # Both are measured in their own longer sides, of equally many pixels here.
    found.sort(key=lambda each: -each[0])
    kept: list[tuple[int, float, np.ndarray]] = []
    for _, turn, scale, shift in found:
        is_known = any(
            turn == t and abs(np.log(scale / s)) < 0.15 and np.abs(shift - p).sum() < 0.12 for t, s, p in kept
        )
        if not is_known:
            kept.append((turn, scale, shift))
        if len(kept) == _TRIED:
            break
    return [Transform(scale * _matrix(turn), shift) for turn, scale, shift in kept]


def _refined(upper: np.ndarray, lower: np.ndarray, transform: Transform, steps: int) -> Placed | None:
    """Moves, turns and scales until shades agree; None where they do not."""
    rows, columns = np.indices(upper.shape, np.float32)
    points = np.stack([(rows - (upper.shape[0] - 1) / 2).ravel(), (columns - (upper.shape[1] - 1) / 2).ravel()])
    points /= max(upper.shape)
    size, centre = max(lower.shape), (np.array(lower.shape, np.float32)[:, None] - 1) / 2
    slopes = np.gradient(lower)
    shades = upper.ravel()
    linear, shift = transform.linear, transform.shift
    for step in range(steps + 1):
        turned = (linear @ points).astype(np.float32)
        at = (turned + shift[:, None].astype(np.float32)) * size + centre
        under, down, right, is_over = _read((lower, *slopes), at)
        if is_over.mean() < 0.2:
            return None
        if step == steps:
            break
        down, right = down * size, right * size
        # How shades change with size, angle, and shifts; the last two make gain and offset free.
        changes = np.stack(
            [
                down * turned[0] + right * turned[1],
                right * turned[0] - down * turned[1],
                down,
                right,
                under,
                np.ones_like(under),
            ]
        )[:, is_over]
        normal = changes @ changes.T + 1e-3 * np.eye(6)
        solution = np.linalg.solve(normal, changes @ shades[is_over])
        gain = solution[4] if abs(solution[4]) > 0.05 else 0.05
        larger, angle, *moved = np.clip(solution[:4] / gain, -0.1, 0.1)
        linear = np.array([[1 + larger, -angle], [angle, 1 + larger]]) @ linear
        shift = shift + np.array(moved)
    if np.corrcoef(shades[is_over], under[is_over])[0, 1] < _AGREES:
        return None
    shape = upper.shape
    return Placed(Transform(linear, shift), upper, under.reshape(shape), is_over.reshape(shape))


def _read(images: tuple[np.ndarray, ...], at: np.ndarray) -> list[np.ndarray]:
    """Values of images of one shape at points in pixels, float32 [2, n], between which is interpolated; and, last,
    which points lie inside."""
    height, width = images[0].shape
    inside = (at[0] >= 0) & (at[1] >= 0) & (at[0] <= height - 1) & (at[1] <= width - 1)
    y, x = np.clip(at[0], 0, height - 1.001), np.clip(at[1], 0, width - 1.001)
    row, column = y.astype(np.int64), x.astype(np.int64)
    y, x = y - row, x - column
    first = row * width + column
    read = []
    for image in images:
        values = image.ravel()
        above = values[first] * (1 - x) + values[first + 1] * x
        below = values[first + width] * (1 - x) + values[first + width + 1] * x
        read.append(above * (1 - y) + below * y)
    return [*read, inside]


def _shrunk(image: Image.Image, longer: int) -> np.ndarray:
    scale = longer / max(image.size)
    size = max(8, round(image.width * scale)), max(8, round(image.height * scale))
    how = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    return np.asarray(image.resize(size, how), np.float32)


def _turned(pixels: np.ndarray, turn: int) -> np.ndarray:
    """One of eight: mirrored from the fifth on, by quarters of a turn."""
    return np.rot90(pixels[:, ::-1] if turn >= 4 else pixels, turn % 4)


def _matrix(turn: int) -> np.ndarray:
    """Where `_turned` moves the points (y, x)."""
    mirror = np.diag([1.0, -1.0]) if turn >= 4 else np.eye(2)
    quarter = np.array([[0.0, -1.0], [1.0, 0.0]])
    matrix: np.ndarray = np.linalg.matrix_power(quarter, turn % 4) @ mirror
    return matrix


def _standardised(rows: np.ndarray, least: float) -> np.ndarray:
    """Along the last axis: mean 0 and length 1, where it was not shorter than `least`."""
    rows = rows - rows.mean(-1, keepdims=True)
    unit: np.ndarray = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), least)
    return unit
