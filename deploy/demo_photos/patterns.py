"""What is printed on the products: patterns, emblems and words, as flat images."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Points = Sequence[tuple[float, float]] | NDArray[np.float64]


@dataclass(frozen=True)
class Design:
    """How a product differs from the others of its family. Colours are CSS names or hex."""

    name: str
    base: str
    accent: str
    ink: str
    pattern: str
    emblem: str
    word: str = ""


def printed(
    design: Design, width: int, height: int, *, emblems: int = 1, at: float = 0.5, size: float = 0.2
) -> Image.Image:
    """The design's pattern, with its emblem `emblems` times side by side and its word below.

    Args:
        at: height of the emblems' middle, as a share of the height.
        size: radius of the emblems, as a share of the height.
    """
    image = Image.new("RGB", (width, height), design.base)
    draw = ImageDraw.Draw(image)
    PATTERNS[design.pattern](draw, width, height, design)
    radius = size * height
    for i in range(emblems if size else 0):
        middle = ((i + 0.5) * width / emblems, at * height)
        circle(draw, middle, radius * 1.35, design.base, outline=design.ink, width=max(2, int(radius / 12)))
        emblem(draw, design.emblem, middle, radius, design.ink)
        if design.word:
            font = ImageFont.load_default(radius * 0.85)
            spot = (middle[0], middle[1] + radius * 2.0)
            box = draw.textbbox(spot, design.word, font, anchor="mm")
            draw.rectangle((box[0] - 8, box[1] - 5, box[2] + 8, box[3] + 5), fill=design.base)
            draw.text(spot, design.word, fill=design.ink, font=font, anchor="mm")
    return image


def circle(
    draw: ImageDraw.ImageDraw,
    middle: tuple[float, float],
    radius: float,
    fill: str | None,
    outline: str | None = None,
    width: int = 1,
) -> None:
    x, y = middle
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill, outline=outline, width=width)


def smooth(points: Points, steps: int = 8) -> list[tuple[float, float]]:
    """A closed Catmull-Rom curve through the points."""
    p = np.asarray(points, dtype=np.float64)
    before, after, beyond = np.roll(p, 1, 0), np.roll(p, -1, 0), np.roll(p, -2, 0)
    curve = []
    for t in np.arange(steps) / steps:
        curve.append(
            0.5
            * (
                2 * p
                + (after - before) * t
                + (2 * before - 5 * p + 4 * after - beyond) * t**2
                + (3 * p - before - 3 * after + beyond) * t**3
            )
        )
    return [(float(x), float(y)) for x, y in np.stack(curve, 1).reshape(-1, 2)]


def _bands(draw: ImageDraw.ImageDraw, w: int, h: int, design: Design) -> None:
    for i in range(0, 10, 2):
        draw.rectangle((0, i * h / 10, w, (i + 1) * h / 10), fill=design.accent)


def _stripes(draw: ImageDraw.ImageDraw, w: int, h: int, design: Design) -> None:
    for i in range(0, 32, 2):
        draw.rectangle((i * w / 32, 0, (i + 1) * w / 32, h), fill=design.accent)


def _dots(draw: ImageDraw.ImageDraw, w: int, h: int, design: Design) -> None:
    step = h / 7
    columns = max(2, round(w / step))
    for row in range(8):
        for column in range(columns + 1):
            circle(draw, ((column + row % 2 / 2) * w / columns, row * step), step * 0.24, design.accent)


def _checks(draw: ImageDraw.ImageDraw, w: int, h: int, design: Design) -> None:
    step = h / 8
    columns = max(2, round(w / step / 2) * 2)
    for row in range(8):
        for column in range(row % 2, columns, 2):
            x = column * w / columns
            draw.rectangle((x, row * step, x + w / columns, (row + 1) * step), fill=design.accent)


def _zigzag(draw: ImageDraw.ImageDraw, w: int, h: int, design: Design) -> None:
    teeth = max(2, round(w / h * 6))
    for row in range(1, 8, 2):
        points = [(i * w / teeth / 2, (row + i % 2) * h / 8) for i in range(-1, 2 * teeth + 2)]
        draw.line(points, fill=design.accent, width=int(h / 16), joint="curve")


def _waves(draw: ImageDraw.ImageDraw, w: int, h: int, design: Design) -> None:
    periods = max(1, round(w / h * 3))
    for row in range(1, 9, 2):
        points = [
            (x, (row + 0.5 * math.sin(2 * math.pi * periods * x / w)) * h / 9)
            for x in range(-8, w + 9, max(1, w // 96))
        ]
        draw.line(points, fill=design.accent, width=int(h / 18), joint="curve")


def _halves(draw: ImageDraw.ImageDraw, w: int, h: int, design: Design) -> None:
    draw.rectangle((0, h * 0.62, w, h), fill=design.accent)
    draw.rectangle((0, h * 0.57, w, h * 0.6), fill=design.ink)


def _rings(draw: ImageDraw.ImageDraw, w: int, h: int, design: Design) -> None:
    for at, colour in ((0.06, design.accent), (0.12, design.ink), (0.84, design.ink), (0.90, design.accent)):
        draw.rectangle((0, at * h, w, (at + 0.045) * h), fill=colour)


def _speckle(draw: ImageDraw.ImageDraw, w: int, h: int, design: Design) -> None:
    rng = np.random.default_rng(len(design.name))
    for x, y, r in rng.random((220, 3)):
        circle(draw, (x * w, y * h), (0.003 + 0.012 * r) * h, design.accent)


def _streaks(draw: ImageDraw.ImageDraw, w: int, h: int, design: Design) -> None:
    rng = np.random.default_rng(len(design.name))
    for x, start, length in rng.random((130, 3)):
        top = start * 0.5 * h
        draw.line((x * w, top, x * w, top + (0.2 + 0.5 * length) * h), fill=design.accent, width=max(1, w // 170))


def _blush(draw: ImageDraw.ImageDraw, w: int, h: int, design: Design) -> None:
    for row in range(24):
        share = (1 + math.cos(row / 24 * math.pi)) / 2
        for side in (0.25, 0.75):
            draw.rectangle(
                ((side - 0.2 * share) * w, row * h / 24, (side + 0.2 * share) * w, (row + 1) * h / 24),
                fill=design.accent,
            )


def _plain(draw: ImageDraw.ImageDraw, w: int, h: int, design: Design) -> None:
    del draw, w, h, design


PATTERNS: dict[str, Callable[[ImageDraw.ImageDraw, int, int, Design], None]] = {
    "bands": _bands,
    "stripes": _stripes,
    "dots": _dots,
    "checks": _checks,
    "zigzag": _zigzag,
    "waves": _waves,
    "halves": _halves,
    "rings": _rings,
    "speckle": _speckle,
    "streaks": _streaks,
    "blush": _blush,
    "plain": _plain,
}


def emblem(draw: ImageDraw.ImageDraw, kind: str, middle: tuple[float, float], radius: float, colour: str) -> None:
    """Draws a small sign, at most 2 * radius wide and high."""

    def at(points: Points) -> list[tuple[float, float]]:
        return [(middle[0] + radius * x, middle[1] + radius * y) for x, y in points]

    def around(n: int, r: float, turn: float = 0.0) -> list[tuple[float, float]]:
        return [(r * math.sin(2 * math.pi * i / n + turn), -r * math.cos(2 * math.pi * i / n + turn)) for i in range(n)]

    if kind == "sun":
        circle(draw, middle, radius * 0.5, colour)
        for inner, outer in zip(at(around(10, 0.65)), at(around(10, 1.0)), strict=True):
            draw.line([inner, outer], fill=colour, width=max(2, int(radius / 7)))
    elif kind == "star":
        points = [p for pair in zip(around(5, 1.0), around(5, 0.42, math.pi / 5), strict=True) for p in pair]
        draw.polygon(at(points), fill=colour)
    elif kind == "flower":
        for petal in at(around(6, 0.6)):
            circle(draw, petal, radius * 0.36, colour)
        circle(draw, middle, radius * 0.22, "#f8e08a")
    elif kind == "leaf":
        draw.polygon(at(smooth([(0, -1), (0.6, -0.2), (0.35, 0.6), (0, 1), (-0.35, 0.6), (-0.6, -0.2)])), fill=colour)
    elif kind == "moon":
        back = [(-math.sin(a) * 0.95, -math.cos(a) * 0.95) for a in np.linspace(0, math.pi, 20)]
        front = [(-math.sin(a) * 0.45, -math.cos(a) * 0.95) for a in np.linspace(math.pi, 0, 20)]
        draw.polygon(at(back + front), fill=colour)
    elif kind == "heart":
        angles = np.linspace(0, 2 * math.pi, 40)
        shape = [
            (math.sin(a) ** 3, -(13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a) - math.cos(4 * a)) / 16)
            for a in angles
        ]
        draw.polygon(at(shape), fill=colour)
    elif kind == "fish":
        body = smooth([(-0.95, 0), (-0.3, -0.45), (0.4, -0.1), (0.4, 0.1), (-0.3, 0.45)])
        draw.polygon(at(body), fill=colour)
        draw.polygon(at([(0.3, 0), (0.95, -0.5), (0.95, 0.5)]), fill=colour)
    elif kind == "hill":
        draw.polygon(at([(-1, 0.7), (-0.3, -0.7), (0.1, 0.1), (0.4, -0.3), (1, 0.7)]), fill=colour)
    elif kind == "drop":
        draw.polygon(
            at(smooth([(0, -1), (0.35, -0.2), (0.6, 0.4), (0, 0.95), (-0.6, 0.4), (-0.35, -0.2)])), fill=colour
        )
    else:
        raise ValueError(f"there is no emblem {kind!r}")
