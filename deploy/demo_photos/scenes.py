"""Where the products are photographed: tables and walls, light and shadow, things in the way."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from deploy.demo_photos.bodies import FLOOR, Drawing, perspective, warped
from deploy.demo_photos.patterns import circle, smooth

_WOODS = ["#b98a5a", "#8a5a36", "#d8b88a", "#6b4a35"]
_WALLS = ["#d9d4c8", "#9fb3bf", "#c9b8a8", "#6f7f78", "#e6e1da", "#b7a2a8", "#4f5a66", "#cfd8cf"]
_CLOTHS = ["#c9574a", "#5a7fa8", "#d9cfbb", "#7a9a78", "#caa24e"]
_SKIN_LINES = "#6b4030"
_SKINS = ["#e8bd9c", "#c68e68", "#8d5a3c", "#f0cdb2", "#5f3b28"]


class Scenery:
    """Surfaces and walls, drawn once from a seed; photographs of drawings in front of them. Safe for threads."""

    def __init__(self, seed: int, size_px: int) -> None:
        self.size_px = size_px
        rng = np.random.default_rng([seed, 2**31])
        s = 2 * size_px
        self._surfaces = [
            *(_wood(rng, s, colour) for colour in _WOODS),
            *(_cloth(rng, s, colour) for colour in _CLOTHS),
            *(_tiles(rng, s, colour) for colour in ("#dfe3e4", "#9db4b0", "#c9b49a")),
            *(_stone(rng, s, colour) for colour in ("#e6e3de", "#8f9296", "#4d4f55")),
        ]
        self._walls = [_stone(rng, s, colour, grain=0.35) for colour in _WALLS]
        self._walls += [_tiles(rng, s, "#e8ecec"), _wood(rng, s, "#a97b52").rotate(90)]
        # Walls are out of focus, as everything behind the product is.
        self._walls = [wall.filter(ImageFilter.GaussianBlur(size_px / 100)) for wall in self._walls]
        self._noise = rng.standard_normal((4, size_px, size_px, 3), dtype=np.float32)

    def photograph(self, drawing: Drawing, rng: np.random.Generator, *, lies_flat: bool) -> Image.Image:
        """An RGB photo [size_px, size_px] of the drawing, in a scene chosen by `rng`."""
        s = self.size_px
        lying = lies_flat and rng.random() < 0.35
        product, (x, y, reach) = _placed(Image.fromarray(drawing), rng, s, lying=lying)
        photo = self._background(rng, lying=lying)
        alpha = product.getchannel("A")
        _cast_shadow(photo, alpha, rng, (x, y, reach), lying=lying)
        photo.paste(product, mask=alpha)
        if rng.random() < 0.4:
            _cover(photo, rng, x, y, reach)
        return self._exposed(photo, rng)

    def _background(self, rng: np.random.Generator, *, lying: bool) -> Image.Image:
        s = self.size_px
        surface = self._surfaces[rng.integers(len(self._surfaces))]
        w = surface.width
        if lying:
            room = math.ceil(1.45 * s)
            left, top = (int(rng.integers(0, w - room)) for _ in range(2))
            around = surface.crop((left, top, left + room, top + room))
            around = around.rotate(float(rng.uniform(-60, 60)), Image.Resampling.BILINEAR)
            margin = (room - s) // 2
            return around.crop((margin, margin, margin + s, margin + s))
        horizon = int(rng.uniform(0.4, 0.66) * s)
        near, far = rng.uniform(0.3, 0.6), rng.uniform(0.7, 1.0)
        corners = [(0.5 - far / 2, 0.0), (0.5 + far / 2, 0.0), (0.5 + near / 2, 1.0), (0.5 - near / 2, 1.0)]
        source = [(a * w, b * w) for a, b in corners]
        floor = s - horizon
        target = [(0.0, 0.0), (float(s), 0.0), (float(s), float(floor)), (0.0, float(floor))]
        table = surface.transform(
            (s, floor), Image.Transform.PERSPECTIVE, perspective(source, target), Image.Resampling.BILINEAR
        )
        photo = Image.new("RGB", (s, s))
        photo.paste(table, (0, horizon))
        wall = self._walls[rng.integers(len(self._walls))]
        left, top = (int(rng.integers(0, w - s)) for _ in range(2))
        wall = wall.crop((left, top, left + s, top + horizon))
        photo.paste(wall)
        # The line where the table ends: darker, and out of focus too.
        ImageDraw.Draw(photo, "RGBA").rectangle((0, horizon - s // 128, s, horizon + s // 170), fill=(40, 32, 28, 90))
        band = (0, max(0, horizon - s // 24), s, min(s, horizon + s // 12))
        photo.paste(photo.crop(band).filter(ImageFilter.GaussianBlur(s / 130)), band[:2])
        return photo

    def _exposed(self, photo: Image.Image, rng: np.random.Generator) -> Image.Image:
        s = self.size_px
        if rng.random() < 0.4:
            photo = photo.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 0.9)) * s / 256))
        line = np.linspace(-1, 1, s, dtype=np.float32)
        direction, fall = rng.uniform(0, 2 * math.pi), rng.uniform(0.05, 0.3)
        light = 1 + fall * (math.cos(direction) * line[None, :] + math.sin(direction) * line[:, None])
        light = light * (1 - rng.uniform(0, 0.13) * (line[None, :] ** 2 + line[:, None] ** 2))
        warmth = rng.uniform(-0.1, 0.12)
        gain = np.array([1 + warmth, 1 + 0.2 * warmth, 1 - warmth], np.float32) * rng.uniform(0.8, 1.15)
        pixels = np.asarray(photo, np.float32) * light[..., None].astype(np.float32) * gain.astype(np.float32)
        noise = np.roll(self._noise[rng.integers(4)], tuple(rng.integers(0, s, 2)), (0, 1))
        pixels += noise * np.float32(rng.uniform(1.5, 6.0))
        return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _placed(
    product: Image.Image, rng: np.random.Generator, s: int, *, lying: bool
) -> tuple[Image.Image, tuple[float, float, float]]:
    """The product in the photo's frame (RGBA), and in pixels the middle of its foot (or its own) and half its size."""
    half = float(rng.uniform(0.30, 0.46)) * s
    turn = float(rng.uniform(-0.9, 0.9) if lying else rng.uniform(-0.13, 0.13))
    x = s * float(rng.uniform(0.41, 0.59))
    y = s * float(rng.uniform(0.42, 0.58) if lying else rng.uniform(0.80, 0.93))
    pivot = 0.0 if lying else FLOOR
    skew = rng.uniform(-0.05, 0.05, (4, 2))
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) + skew - (0, pivot)
    turning = np.array([(math.cos(turn), math.sin(turn)), (-math.sin(turn), math.cos(turn))])
    target = [(x + half * a, y + half * b) for a, b in corners @ turning]
    # Colours premultiplied, or edges would take on the black behind what is transparent. Shrunk first: warping does
    # not average.
    small = product.convert("RGBa").resize((round(2 * half),) * 2, Image.Resampling.HAMMING)
    part, spot = warped(small, target, (s, s))
    placed = Image.new("RGBA", (s, s))
    placed.paste(part.convert("RGBA"), spot)
    return placed, (x, y, half)


def _cast_shadow(
    photo: Image.Image, alpha: Image.Image, rng: np.random.Generator, spot: tuple[float, float, float], *, lying: bool
) -> None:
    # At half the size: what is blurred needs no more.
    alpha, s = alpha.reduce(2), photo.width / 2
    y, half = spot[1] / 2, spot[2] / 2
    dark = float(rng.uniform(0.25, 0.6))
    if lying:
        right, down = (float(shift) * s for shift in rng.uniform(-0.08, 0.08, 2))
        coefficients: tuple[float, ...] = (1, 0, -right, 0, 1, -abs(down) - s / 60)
    else:
        # Laid down on the table: squeezed towards the foot and sheared away from the light.
        squeeze, shear = float(rng.uniform(3.0, 5.5)), float(rng.uniform(-2.2, 2.2))
        coefficients = (1, shear, -shear * y, 0, squeeze, y * (1 - squeeze))
    shadow = alpha.transform(alpha.size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    if not lying:
        foot = alpha.crop((0, int(y - half * 0.2), alpha.width, int(y))).getbbox()
        if foot:
            box = (foot[0] - s / 40, y - half * 0.12, foot[2] + s / 40, y + half * 0.07)
            ImageDraw.Draw(shadow).ellipse(box, fill=255)
    shadow = shadow.filter(ImageFilter.GaussianBlur(s / float(rng.uniform(40, 90))))
    shadow = shadow.point(lambda value: int(value * dark)).resize(photo.size)
    photo.paste((22, 18, 20), mask=shadow)


def _cover(photo: Image.Image, rng: np.random.Generator, x: float, y: float, half: float) -> None:
    """Puts something in front of a part of the product: fingers, a price tag, or something out of focus."""
    s = photo.width
    large = Image.new("RGBA", (2 * s, 2 * s))
    draw = ImageDraw.Draw(large)
    kind = rng.choice(["fingers", "tag", "blob"])
    side = float(rng.choice([-1.0, 1.0]))
    blur = 0.4
    if kind == "fingers":
        colour = str(rng.choice(_SKINS))
        low = 2 * (y - half * float(rng.uniform(0.5, 1.0)))
        tip, thick = 2 * (x + side * half * float(rng.uniform(0.2, 0.45))), half * 0.44
        end = 2 * s if side > 0 else 0
        for i in range(3):
            top, reach = low + i * thick * 1.12, tip + side * thick * (0.3, 0.0, 0.35)[i]
            draw.line((reach, top, end, top + side * (end - tip) * 0.22), fill=colour, width=int(thick * 0.98))
            circle(draw, (reach, top), thick / 2, colour)
            nail = (reach - thick * 0.36, top - thick * 0.24, reach + thick * 0.2, top + thick * 0.24)
            draw.ellipse(nail, fill="#f6dcd0", outline=_SKIN_LINES)
            draw.line(
                (reach, top + thick / 2, end, top + thick / 2 + side * (end - tip) * 0.22), fill=_SKIN_LINES, width=3
            )
    elif kind == "tag":
        w, h = half * 0.75, half * 0.44
        label = Image.new("RGBA", (int(w), int(h)), str(rng.choice(["#fdfdf8", "#ffe14a", "#f2f2f2"])))
        price = f"{rng.integers(1, 30)}.{rng.choice(['49', '95', '99'])}"
        font = ImageFont.load_default(h * 0.5)
        ImageDraw.Draw(label).text((w / 2, h / 2), price, fill="#c02020", font=font, anchor="mm")
        label = label.rotate(float(rng.uniform(-20, 20)), Image.Resampling.BICUBIC, expand=True)
        spot = (2 * (x + side * half * 0.35) - w / 2, 2 * (y - half * float(rng.uniform(0.3, 1.2))))
        large.paste(label, (int(spot[0]), int(spot[1])))
    else:
        blur = s / 60
        colour = str(rng.choice(["#3c5a3c", "#7a3b2e", "#d8d2c4", "#2f3640", "#c9a44a"]))
        middle = np.array([2 * (x + side * half * rng.uniform(0.75, 1.1)), 2 * (y + half * 0.05)])
        angles = np.arange(7) / 7 * 2 * math.pi
        radii = rng.uniform(0.7, 1.1, 7) * half * 0.9
        points = [
            (middle[0] + r * math.cos(a), middle[1] + r * math.sin(a)) for a, r in zip(angles, radii, strict=True)
        ]
        draw.polygon(smooth(points), fill=colour)
    left, top, right, bottom = large.getbbox() or (0, 0, 1, 1)
    margin = math.ceil(8 * blur)
    box = (max(0, left - margin), max(0, top - margin), min(2 * s, right + margin), min(2 * s, bottom + margin))
    thing = large.crop(box).convert("RGBa").reduce(2).filter(ImageFilter.GaussianBlur(blur)).convert("RGBA")
    photo.paste(thing, (box[0] // 2, box[1] // 2), mask=thing.getchannel("A"))


def _clouds(rng: np.random.Generator, s: int, *cells: tuple[int, int]) -> NDArray[np.float32]:
    """Smooth noise of about -1..1, [s, s]: a layer for each (rows, columns), half as strong as the one before."""
    total = np.zeros((s, s), np.float32)
    for layer, (rows, columns) in enumerate(cells):
        coarse = Image.fromarray(rng.uniform(-1, 1, (rows, columns)).astype(np.float32))
        total += np.asarray(coarse.resize((s, s), Image.Resampling.BICUBIC)) / 2**layer
    return total


def _tinted(colour: str, shade: NDArray[np.floating]) -> Image.Image:
    """The colour, lighter and darker by `shade` (0: as it is; 1: twice as bright)."""
    base = np.asarray(Image.new("RGB", (1, 1), colour), np.float32)
    return Image.fromarray(np.clip(base * (1 + shade[..., None]), 0, 255).astype(np.uint8))


def _wood(rng: np.random.Generator, s: int, colour: str) -> Image.Image:
    shade = 0.16 * _clouds(rng, s, (24, 2), (90, 4), (s // 3, 6))
    planks = 6
    tone = np.repeat(rng.uniform(-0.12, 0.12, planks), math.ceil(s / planks))[:s]
    seam = np.where(np.arange(s) % math.ceil(s / planks) < max(2, s // 200), -0.4, 0.0)
    return _tinted(colour, shade + (tone + seam)[:, None].astype(np.float32))


def _cloth(rng: np.random.Generator, s: int, colour: str) -> Image.Image:
    line = np.arange(s, dtype=np.float32)
    threads = 0.05 * np.sin(line * 2.1)
    if rng.random() < 0.6:
        threads += 0.16 * (line // (s / int(rng.integers(10, 18))) % 2)
    weave = threads[None, :] + threads[:, None]
    return _tinted(colour, weave + 0.12 * _clouds(rng, s, (4, 4), (9, 9)))


def _tiles(rng: np.random.Generator, s: int, colour: str) -> Image.Image:
    count = 8
    step = s // count
    cell = np.minimum(np.arange(s) // step, count)
    tone = rng.uniform(-0.06, 0.06, (count + 1, count + 1)).astype(np.float32)
    grout = np.arange(s) % step < max(2, s // 120)
    shade = np.where(grout[:, None] | grout[None, :], np.float32(-0.22), tone[cell[:, None], cell[None, :]])
    return _tinted(colour, shade + 0.04 * _clouds(rng, s, (5, 5), (40, 40)))


def _stone(rng: np.random.Generator, s: int, colour: str, grain: float = 1.0) -> Image.Image:
    veins = -np.abs(_clouds(rng, s, (5, 5), (11, 11), (23, 23), (60, 60)))
    return _tinted(colour, grain * (0.2 * veins + 0.08 + 0.03 * _clouds(rng, s, (s // 3, s // 3))))
