"""Lays one image over another: where, how large, turned how, so that shades agree best. NumPy alone.

The middle of one is looked for in the other (`ml.images.shape`); where it fits best, position, size and angle are
refined by least squares on the shades, whose gain and offset are free (Lucas and Kanade, 1981; Evangelidis and
Psarakis, 2008). Most images have nothing in common: what leads nowhere is given up as soon as that shows.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ml.images.shape import Place, Shape, places

_STEPS = (6, 4)  # for each size of ml.images.shape.REFINED_PX
_AGREES = 0.6  # correlation of everything that overlaps, from which a position is kept
# Of steps from the third on, in correlation, for others than those that agree. Copies that begin lower gain more:
# benchmarks/copies.py.
_LEAST_GAIN = 0.005
_READY = 256  # shapes whose shades are kept ready to be read, 37 kB each


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
        upper: float32 [h, w], its shades, less their mean.
        lower: float32 [h, w], the shades under them, less a mean.
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


def overlays(
    first: Shape, second: Shape, is_promising: Callable[[Placed], bool] = lambda placed: True
) -> Iterator[Placed]:
    """The likeliest ways to lay one over the other; none for most images that have nothing in common.

    Args:
        first: the one.
        second: the other.
        is_promising: whether to go on to the full size with what was placed at half of it.
    """
    # What is in the middle of a part of a photo need not be in the middle of the photo.
    yield from _overlays(first, second, is_promising)
    yield from _overlays(second, first, is_promising)


def _overlays(first: Shape, second: Shape, is_promising: Callable[[Placed], bool]) -> Iterator[Placed]:
    """By where the middle of the first is found in the second."""
    for place in places(first, second):
        upper, lower, transform = first, second, _transform(place)
        if transform.scale < 1:  # shades are read from the finer one
            upper, lower, transform = second, first, transform.inverse()
        placed = _refined(upper, lower, 0, transform)
        if placed is not None and is_promising(placed):
            placed = _refined(upper, lower, 1, placed.transform)
            if placed is not None:
                yield placed


def _refined(upper: Shape, lower: Shape, level: int, transform: Transform) -> Placed | None:
    """Moves, turns and scales until shades agree; None where they do not."""
    readable = _small_readable(lower) if level == 0 else _Readable(lower.refined[level])
    shape, steps = upper.refined[level].shape, _STEPS[level]
    points = _points(shape)
    shades = upper.refined[level].astype(np.float32).ravel()
    shades -= shades.mean()
    linear, shift = transform.linear, transform.shift
    agreed = -1.0
    for step in range(steps + 1):
        under_points = (linear @ points).astype(np.float32)
        read, is_over = readable.at(under_points + shift[:, None].astype(np.float32))
        if is_over.mean() < 0.2:
            return None
        under, down, right, ones = read.T
        if step == steps:
            break
        # How shades change with size, angle, and shifts; the last two make gain and offset free.
        changes = np.stack(
            [
                down * under_points[0] + right * under_points[1],
                right * under_points[0] - down * under_points[1],
                down,
                right,
                under,
                ones,
            ]
        )
        normal, target = (changes @ changes.T).astype(np.float64), (changes @ shades).astype(np.float64)
        agrees = _correlation(normal, target, float(shades @ (shades * ones)))
        if step >= 2 and agrees < _AGREES and agrees < agreed + _LEAST_GAIN:
            return None
        agreed = agrees
        solution = np.linalg.solve(normal + 1e-3 * np.eye(6), target)
        gain = solution[4] if abs(solution[4]) > 0.05 else 0.05
        larger, angle, *moved = np.clip(solution[:4] / gain, -0.1, 0.1)
        linear = np.array([[1 + larger, -angle], [angle, 1 + larger]]) @ linear
        shift = shift + np.array(moved)
    if np.corrcoef(shades[is_over], under[is_over])[0, 1] < _AGREES:
        return None
    return Placed(Transform(linear, shift), shades.reshape(shape), under.reshape(shape), is_over.reshape(shape))


def _correlation(normal: np.ndarray, target: np.ndarray, shades_squared: float) -> float:
    """Of shades with those under them, from the sums of their products."""
    count, sum_under, sum_shades = normal[5, 5], normal[4, 5], target[5]
    spreads = (normal[4, 4] - sum_under**2 / count) * (shades_squared - sum_shades**2 / count)
    return float((target[4] - sum_under * sum_shades / count) / np.sqrt(max(spreads, 1e-6)))


class _Readable:
    """Shades and their slopes, to be read at any points."""

    def __init__(self, pixels: np.ndarray) -> None:
        """`pixels` is uint8 [h, w]."""
        shades = pixels.astype(np.float32)
        self._size, self._shape = max(shades.shape), shades.shape
        self._centre = (np.array(shades.shape, np.float32)[:, None] - 1) / 2
        down, right = np.gradient(shades)
        slopes = down * self._size, right * self._size
        # Side by side, for what lies together is read in one go.
        self._table = np.stack([shades - shades.mean(), *slopes, np.ones_like(shades)], -1).reshape(-1, 4)

    def at(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Interpolates between pixels.

        Args:
            points: float32 [2, n], as of a Transform.

        Returns:
            float32 [n, 4]: shades less their mean, slopes down and right in longer sides, and 1; zeros outside. And
            which points lie inside, bool [n].
        """
        y, x = points * self._size + self._centre
        height, width = self._shape
        inside = (y >= 0) & (x >= 0) & (y <= height - 1) & (x <= width - 1)
        y, x = np.clip(y, 0, height - 1.001), np.clip(x, 0, width - 1.001)
        row, column = y.astype(np.intp), x.astype(np.intp)
        y, x = (y - row.astype(np.float32))[:, None], (x - column.astype(np.float32))[:, None]
        first = row * width + column

        def across(start: np.ndarray) -> np.ndarray:
            left, right = self._table.take(start, 0, mode="clip"), self._table.take(start + 1, 0, mode="clip")
            right -= left
            right *= x
            right += left
            return right

        above, below = across(first), across(first + width)
        below -= above
        below *= y
        below += above
        below *= inside[:, None]
        return below, inside


@functools.lru_cache(_READY)
def _small_readable(shape: Shape) -> _Readable:
    return _Readable(shape.refined[0])


@functools.lru_cache(64)
def _points(shape: tuple[int, int]) -> np.ndarray:
    """Of an image's pixels, as of a Transform: float32 [2, h * w]."""
    rows, columns = np.indices(shape, np.float32)
    points = np.stack([(rows - (shape[0] - 1) / 2).ravel(), (columns - (shape[1] - 1) / 2).ravel()])
    points /= max(shape)
    return points


def _transform(place: Place) -> Transform:
    """Where `ml.images.shape.turned` moves the points (y, x), scaled and shifted."""
    mirror = np.diag([1.0, -1.0]) if place.turn >= 4 else np.eye(2)
    quarter = np.array([[0.0, -1.0], [1.0, 0.0]])
    matrix: np.ndarray = np.linalg.matrix_power(quarter, place.turn % 4) @ mirror
    return Transform(place.scale * matrix, place.shift)
