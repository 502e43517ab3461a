"""An image's shades, as small as it takes to lay images over one another; and where one's middle is found in another.

The middle is correlated with every square of the other, in nine sizes, four turns and mirrored: all squares at once, by
their spectra (Lewis, "Fast Normalized Cross-Correlation", 1995). The spectra of some images are kept.
"""

import functools
from dataclasses import dataclass

import numpy as np
from PIL import Image

REFINED_PX = (48, 96)  # longer sides

_SEARCHED_PX = 32  # longer side
_SIZES = (0.57, 0.65, 0.73, 0.81, 0.9, 1.0, 1.11, 1.23, 1.37)
_MIDDLE = 0.7  # of the shorter side
_FITS = 0.55  # correlation of the middle from which a position is tried
_TRIED = 2  # positions
_FLAT = 4.0  # grey levels
_READY = 256  # shapes whose spectra are kept, of about 150 kB


class Shape:
    """An image's shades in three sizes, uint8 [h, w], of together 12 kB at most."""

    def __init__(self, image: Image.Image) -> None:
        """`image` is in mode L."""
        self.searched = _shrunk(image, _SEARCHED_PX)
        self.refined = [_shrunk(image, size) for size in REFINED_PX]


@dataclass(frozen=True)
class Place:
    """Where the middle of one image was found in another.

    Args:
        turn: one of eight, as `turned` makes them.
        scale: its size there, by its size.
        shift: (y, x) from the middle of the other, in that one's longer sides.
    """

    turn: int
    scale: float
    shift: np.ndarray


def places(first: Shape, second: Shape) -> list[Place]:
    """Where the middle of the first fits best in the second, at most two places, the best first."""
    middles, squares = _spectra(first), _spectra(second)
    centre = (np.array(second.searched.shape) - 1) / 2
    fits = np.fft.irfft2(middles.of_middles[:, None] * squares.of_turns, s=(_SEARCHED_PX, _SEARCHED_PX))
    found: list[tuple[float, Place]] = []
    for (scale, side), of_size in zip(middles.sizes, fits, strict=True):
        if side > min(second.searched.shape):
            continue
        places = _SEARCHED_PX + 1 - side
        of_turns = (of_size[:, :places, :places] * squares.by_length(side)).reshape(8, -1)
        best = of_turns.argmax(1)
        for turn in np.flatnonzero(of_turns[np.arange(8), best] >= _FITS):
            corner = _positions(places, int(turn))[best[turn]]
            shift = (corner + (side - 1) / 2 - centre) / max(second.searched.shape)
            found.append((float(of_turns[turn, best[turn]]), Place(int(turn), scale, shift)))
    # Both are measured in their own longer sides, of equally many pixels here.
    found.sort(key=lambda each: -each[0])
    kept: list[Place] = []
    for _, place in found:
        if not any(_is_same(place, other) for other in kept):
            kept.append(place)
        if len(kept) == _TRIED:
            break
    return kept


def turned(pixels: np.ndarray, turn: int) -> np.ndarray:
    """One of eight: mirrored from the fifth on, by quarters of a turn."""
    return np.rot90(pixels[:, ::-1] if turn >= 4 else pixels, turn % 4)


def _turned_back(pixels: np.ndarray, turn: int) -> np.ndarray:
    return np.rot90(pixels, -(turn % 4))[:, ::-1] if turn >= 4 else np.rot90(pixels, -turn)


def _is_same(place: Place, other: Place) -> bool:
    is_as_large = abs(np.log(place.scale / other.scale)) < 0.15
    return place.turn == other.turn and is_as_large and bool(np.abs(place.shift - other.shift).sum() < 0.12)


class _Spectra:
    """What searches of an image's middle and in it need.

    Instead of the middle the image is turned, and back: that takes eight spectra, not one for each size and turn.

    Args:
        sizes: by which the middle is scaled, and its side in pixels.
        of_middles: complex64 [9, 32, 17], conjugated, of the middle in these sizes: mean 0 and length 1.
        of_turns: complex64 [8, 32, 17], of the image turned back.
    """

    def __init__(self, shape: Shape) -> None:
        shades = shape.searched.astype(np.float32)
        height, width = shades.shape
        middle = _MIDDLE * min(height, width)
        box = ((width - middle) / 2, (height - middle) / 2, (width + middle) / 2, (height + middle) / 2)
        whole = Image.fromarray(shades)
        padded = np.zeros((len(_SIZES) + 8, _SEARCHED_PX, _SEARCHED_PX), np.float32)
        self.sizes = []
        for number, size in enumerate(_SIZES):
            side = max(6, round(middle * size))
            pixels = np.asarray(whole.resize((side, side), Image.Resampling.BILINEAR, box=box), np.float32)
            pixels = pixels - pixels.mean()
            padded[number, :side, :side] = pixels / max(float(np.linalg.norm(pixels)), 1e-6)
            self.sizes.append((side / middle, side))
        self._shades = np.zeros((_SEARCHED_PX, _SEARCHED_PX), np.float32)
        self._shades[:height, :width] = shades - shades.mean()  # lest rounding counts
        self._height, self._width = height, width
        for turn in range(8):
            padded[len(_SIZES) + turn] = _turned_back(self._shades, turn)
        spectra = np.fft.rfft2(padded)
        self.of_middles, self.of_turns = spectra[: len(_SIZES)].conj(), spectra[len(_SIZES) :]
        self._by_length: dict[int, np.ndarray] = {}

    def by_length(self, side: int) -> np.ndarray:
        """One by the length of each square of that side, less its mean; 0 where it juts out: float32 [8, n, n]."""
        if side not in self._by_length:
            exact = self._shades.astype(np.float64)
            sums, squares = _sums(exact, side), _sums(exact**2, side)
            lengths = np.sqrt(np.maximum(squares - sums**2 / side**2, 0.0))
            inverse = 1 / np.maximum(lengths, _FLAT * side)
            inverse[self._height - side + 1 :] = inverse[:, self._width - side + 1 :] = 0.0
            self._by_length[side] = np.stack([_turned_back(inverse, turn) for turn in range(8)]).astype(np.float32)
        return self._by_length[side]


@functools.lru_cache(_READY)
def _spectra(shape: Shape) -> _Spectra:
    return _Spectra(shape)


def _sums(values: np.ndarray, side: int) -> np.ndarray:
    """Of every square of that side: [h - side + 1, w - side + 1]."""
    total = np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    sums: np.ndarray = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    return sums


@functools.lru_cache(8 * _SEARCHED_PX)
def _positions(places: int, turn: int) -> np.ndarray:
    """Where what is found in an image that was turned back is in the image, of `places`² positions: int64 [n², 2]."""
    numbers = _turned_back(np.arange(places**2).reshape(places, places), turn).ravel()
    return np.stack(np.divmod(numbers, places), 1)


def _shrunk(image: Image.Image, longer: int) -> np.ndarray:
    scale = longer / max(image.size)
    size = max(8, round(image.width * scale)), max(8, round(image.height * scale))
    how = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    return np.asarray(image.resize(size, how))
