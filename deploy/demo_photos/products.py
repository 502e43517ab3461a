"""The catalogue: twelve families of four products each, and how each family is drawn."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from deploy.demo_photos.bodies import FLOOR, Drawing, Pose, carton, outline, puffed, stacked, turned
from deploy.demo_photos.patterns import Design, circle, emblem, printed, smooth

Draw = Callable[[Pose], Drawing]
_FRONT = Pose(yaw=0.0, pitch=0.0, light=-0.4, mirrored=False)


@dataclass(frozen=True)
class Product:
    """Something to photograph.

    Attributes:
        name: its class.
        drawing: for a size in pixels, what draws it in a pose; preparing once serves many poses.
        may_lie_flat: whether it is also seen from above, lying.
    """

    name: str
    drawing: Callable[[int], Draw]
    may_lie_flat: bool


def _mug(design: Design, s: int) -> Draw:
    skin = np.asarray(printed(design, 1024, 400, emblems=3, at=0.45, size=0.17))

    def handle(draw: ImageDraw.ImageDraw, scaled: Any) -> None:
        draw.ellipse(scaled([(0.1, -0.32), (0.86, 0.52)]), outline=design.base, width=int(0.15 * s))

    ring = puffed(outline(s, handle), _FRONT, softness=0.03)

    def draw(pose: Pose) -> Drawing:
        upright = turned(s, skin, [(-0.6, 0.56), (0.7, 0.54), (0.8, 0.48)], pose, opening=design.base, gloss=0.5)
        mug = stacked(ring, upright)
        return mug[:, ::-1] if pose.mirrored else mug

    return draw


def _bottle(design: Design, s: int) -> Draw:
    skin = Image.new("RGB", (1024, 512), design.accent)
    ImageDraw.Draw(skin).rectangle((0, 0, 1024, 52), fill=design.ink)
    skin.paste(printed(design, 1024, 210, emblems=2, at=0.38, size=0.24), (0, 240))
    profile = [(-0.9, 0.13), (-0.72, 0.14), (-0.7, 0.11), (-0.5, 0.12), (-0.3, 0.3), (-0.16, 0.36), (0.76, 0.36)]
    body = np.asarray(skin)
    return lambda pose: turned(s, body, [*profile, (0.82, 0.33)], pose, opening=design.ink, lid=True, gloss=0.9)


def _tin(design: Design, s: int) -> Draw:
    skin = Image.new("RGB", (1024, 512), "#b9bdc2")
    skin.paste(printed(design, 1024, 440, emblems=3, at=0.36, size=0.17), (0, 36))
    body = np.asarray(skin)
    profile = [(-0.62, 0.5), (-0.58, 0.5), (-0.56, 0.48), (0.68, 0.48), (0.7, 0.5), (0.74, 0.5)]
    return lambda pose: turned(s, body, profile, pose, opening="#d6d9dd", lid=True, gloss=0.6)


def _lamp(design: Design, s: int) -> Draw:
    shade = np.asarray(printed(design, 1024, 400, size=0))
    stem = np.asarray(Image.new("RGB", (8, 8), design.ink))
    foot = [(-0.2, 0.05), (0.2, 0.06), (0.3, 0.16), (0.44, 0.2), (0.58, 0.14), (0.66, 0.08), (0.7, 0.34), (0.78, 0.36)]

    def draw(pose: Pose) -> Drawing:
        low = Pose(pose.yaw, pose.pitch * 0.6, pose.light, pose.mirrored)
        return stacked(
            turned(s, stem, foot, low, gloss=0.8),
            turned(s, shade, [(-0.85, 0.36), (0.0, 0.66)], low, opening="#fff4d6", lid=True, gloss=0.0, glow=0.6),
        )

    return draw


def _plant(design: Design, s: int) -> Draw:
    skin = np.asarray(printed(design, 1024, 300, size=0))
    rng = np.random.default_rng(sum(map(ord, design.emblem)))
    broad = {"leaf": 0.16, "drop": 0.09, "flower": 0.11, "star": 0.05}[design.emblem]

    def foliage(draw: ImageDraw.ImageDraw, scaled: Any) -> None:
        for _ in range(26 if broad < 0.1 else 18):
            lean, length = rng.uniform(-1.1, 1.1), rng.uniform(0.6, 1.0)
            tip = np.array([math.sin(lean) * length, -math.cos(lean) * length])
            across = np.array([-tip[1], tip[0]]) / length * broad
            root = np.array([0.15 * math.sin(lean), 0.12])
            green = rng.integers(0, 50, 3)
            colour = (int(40 + green[0]), int(105 + 1.4 * green[1]), int(45 + green[2] * 0.7))
            leaf = smooth(np.array([root, root + tip * 0.5 + across, root + tip, root + tip * 0.5 - across]))
            draw.polygon(scaled(leaf), fill=colour)
            draw.line(scaled([root, root + tip * 0.9]), fill=tuple(c + 28 for c in colour), width=max(1, s // 130))
            if design.emblem == "flower":
                for dot in scaled([root + tip]):
                    circle(draw, dot, 0.075 * s, design.ink)
                    circle(draw, dot, 0.03 * s, "#f7dc6f")

    leaves = outline(s, foliage)

    def draw(pose: Pose) -> Drawing:
        pot = [(0.1, 0.5), (0.24, 0.5), (0.26, 0.45), (0.76, 0.33), (0.82, 0.3)]
        soil = turned(s, skin, pot, pose, opening="#60483a", lid=True, gloss=0.25)
        return stacked(soil, puffed(leaves, pose, softness=0.03))

    return draw


def _apple(design: Design, s: int) -> Draw:
    skin = np.asarray(printed(design, 1024, 512, size=0).filter(ImageFilter.GaussianBlur(5)))
    height = np.linspace(0, math.pi, 24)
    profile = [
        (
            0.12 - 0.62 * math.cos(a) * (1 - 0.1 * math.cos(a)),
            0.02 + 0.68 * math.sin(a) ** 0.8 * (1 + 0.1 * math.cos(a)),
        )
        for a in height
    ]

    def stalk(draw: ImageDraw.ImageDraw, scaled: Any) -> None:
        draw.line(scaled([(0.0, -0.4), (0.02, -0.62), (0.08, -0.8)]), fill="#5b4027", width=int(0.07 * s))
        draw.polygon(scaled(smooth([(0.04, -0.6), (0.2, -0.82), (0.5, -0.8), (0.3, -0.62)])), fill="#5d9a3c")

    twig = puffed(outline(s, stalk), _FRONT, softness=0.02)

    def draw(pose: Pose) -> Drawing:
        fruit = Pose(pose.yaw * 2, pose.pitch * 0.35, pose.light, pose.mirrored)
        return stacked(turned(s, skin, profile, fruit, gloss=0.7, shine_at=-0.2), twig)

    return draw


def _box(design: Design, s: int) -> Draw:
    front = printed(design, 300, 420, at=0.34, size=0.17)
    side = printed(design, 110, 420, at=0.5, size=0.09)
    top = printed(design, 300, 110, size=0)
    return lambda pose: carton(s, (0.98, 1.36, 0.38), front, side, top, pose)


def _book(design: Design, s: int) -> Draw:
    front = printed(design, 320, 440, at=0.4, size=0.13)
    pages = Image.new("RGB", (60, 440), "#efe6d0")
    for x in range(0, 60, 5):
        ImageDraw.Draw(pages).line((x, 0, x, 440), fill="#d6cab0")
    paper = pages.resize((320, 60))
    ImageDraw.Draw(front).rectangle((0, 0, 26, 440), fill=design.ink)
    return lambda pose: carton(s, (1.02, 1.4, 0.17), front, pages, paper, pose)


def _shoe(design: Design, s: int) -> Draw:
    upper = [(-0.85, 0.28), (-0.86, -0.15), (-0.78, -0.36), (-0.3, -0.4), (-0.16, -0.32), (0.2, -0.02), (0.62, 0.1)]
    cloth = printed(design, 2 * s, 2 * s, size=0)

    def body(draw: ImageDraw.ImageDraw, scaled: Any) -> None:
        draw.polygon(scaled(smooth([*upper, (0.9, 0.3), (0.86, 0.44), (-0.84, 0.44)])), fill="white")

    mask = outline(s, body).getchannel("A")

    def details(draw: ImageDraw.ImageDraw, scaled: Any) -> None:
        sole = smooth(
            [(-0.9, 0.36), (0.0, 0.42), (0.9, 0.32), (0.96, 0.44), (0.86, 0.56), (-0.84, 0.56), (-0.93, 0.48)]
        )
        toe = smooth([(0.56, 0.4), (0.58, 0.2), (0.68, 0.14), (0.9, 0.28), (0.92, 0.4)])
        draw.polygon(scaled(toe), fill=design.ink)
        draw.polygon(scaled(sole), fill="#f4f1ea")
        draw.line(scaled([(-0.88, 0.47), (0.0, 0.51), (0.92, 0.44)]), fill=design.ink, width=int(0.035 * s))
        for i in range(4):
            x, y = -0.14 + 0.13 * i, -0.26 + 0.1 * i
            draw.line(scaled([(x, y), (x - 0.17, y + 0.12)]), fill="#fbfbf7", width=int(0.05 * s))
        draw.line(scaled([(-0.8, -0.32), (-0.3, -0.36)]), fill=design.ink, width=int(0.07 * s))
        ((x, y),) = scaled([(-0.5, 0.08)])
        circle(draw, (x, y), 0.21 * s, design.base)
        emblem(draw, design.emblem, (x, y), 0.17 * s, design.ink)

    flat = Image.new("RGBA", (s, s))
    flat.paste(cloth.reduce(2), mask=mask)
    flat.alpha_composite(outline(s, details))
    flat = _dropped(flat)
    return lambda pose: puffed(flat, pose, mirror=True)


def _duck(design: Design, s: int) -> Draw:
    cloth = printed(design, s, s, size=0)
    shape = [
        (-0.2, 0.1),
        (0.05, 0.2),
        (0.45, 0.12),
        (0.86, -0.12),
        (0.82, 0.45),
        (0.5, 0.84),
        (-0.3, 0.86),
        (-0.66, 0.5),
    ]

    def body(draw: ImageDraw.ImageDraw, scaled: Any) -> None:
        draw.polygon(scaled(smooth(shape)), fill="white")
        draw.ellipse(scaled([(-0.72, -0.74), (0.14, 0.12)]), fill="white")

    def details(draw: ImageDraw.ImageDraw, scaled: Any) -> None:
        draw.polygon(scaled(smooth([(-0.66, -0.36), (-0.98, -0.26), (-0.94, -0.12), (-0.66, -0.1)])), fill="#ee7a1d")
        (eye,) = scaled([(-0.42, -0.4)])
        circle(draw, eye, 0.085 * s, "#ffffff")
        circle(draw, eye, 0.055 * s, "#1d1d1f")
        wing = smooth([(-0.1, 0.4), (0.3, 0.34), (0.66, 0.26), (0.44, 0.62), (0.1, 0.66)])
        draw.polygon(scaled(wing), fill=design.accent, outline=design.ink, width=max(2, s // 90))
        draw.rectangle(scaled([(-0.5, 0.06), (0.02, 0.15)]), fill=design.ink)
        ((x, y),) = scaled([(-0.22, 0.3)])
        emblem(draw, design.emblem, (x, y), 0.14 * s, design.ink)

    flat = Image.new("RGBA", (s, s))
    flat.paste(cloth, mask=outline(s, body).getchannel("A"))
    flat.alpha_composite(outline(s, details))
    flat = _dropped(flat)
    return lambda pose: puffed(flat, pose, softness=0.08, mirror=True)


def _bag(design: Design, s: int) -> Draw:
    cloth = printed(design, s, s, at=0.54, size=0.13)

    def body(draw: ImageDraw.ImageDraw, scaled: Any) -> None:
        draw.polygon(
            scaled([(-0.58, -0.2), (0.58, -0.2), (0.7, 0.86), (0.6, 0.9), (-0.6, 0.9), (-0.7, 0.86)]), fill="white"
        )

    def straps(draw: ImageDraw.ImageDraw, scaled: Any) -> None:
        draw.arc(scaled([(-0.36, -0.92), (0.36, 0.5)]), 180, 360, fill=design.ink, width=int(0.13 * s))

    def seam(draw: ImageDraw.ImageDraw, scaled: Any) -> None:
        draw.line(scaled([(-0.585, -0.14), (0.585, -0.14)]), fill=design.ink, width=int(0.06 * s))

    flat = outline(s, straps)
    flat.paste(cloth, mask=outline(s, body).getchannel("A"))
    flat.alpha_composite(outline(s, seam))
    return lambda pose: puffed(flat, pose, strength=1.1)


def _clock(design: Design, s: int) -> Draw:
    face = printed(design, s, s, size=0)

    def body(draw: ImageDraw.ImageDraw, scaled: Any) -> None:
        draw.ellipse(scaled([(-0.8, -0.7), (0.8, 0.9)]), fill="white")

    def details(draw: ImageDraw.ImageDraw, scaled: Any) -> None:
        draw.ellipse(scaled([(-0.8, -0.7), (0.8, 0.9)]), outline=design.ink, width=int(0.2 * s))
        for i in range(12):
            x, y = math.sin(i * math.pi / 6), -math.cos(i * math.pi / 6)
            mark = [(0.56 * x, 0.1 + 0.56 * y), (0.66 * x, 0.1 + 0.66 * y)]
            draw.line(scaled(mark), fill=design.ink, width=int((0.07 if i % 3 == 0 else 0.04) * s))
        draw.line(scaled([(0, 0.1), (-0.28, -0.1)]), fill=design.ink, width=int(0.08 * s))
        draw.line(scaled([(0, 0.1), (0.3, -0.3)]), fill=design.ink, width=int(0.055 * s))
        ((x, y),) = scaled([(0, 0.42)])
        emblem(draw, design.emblem, (x, y), 0.15 * s, design.ink)

    flat = Image.new("RGBA", (s, s))
    flat.paste(face, mask=outline(s, body).getchannel("A"))
    flat.alpha_composite(outline(s, details))
    return lambda pose: puffed(flat, pose, softness=0.025, strength=1.2)


def _dropped(flat: Image.Image) -> Image.Image:
    """Moved down until it stands on the floor."""
    bottom = flat.getbbox()[3] if flat.getbbox() else flat.height  # type: ignore[index]
    moved = Image.new("RGBA", flat.size)
    moved.paste(flat, (0, int((1 + FLOOR) / 2 * flat.height) - bottom))
    return moved


_FAMILIES: list[tuple[str, Callable[[Design, int], Draw], bool, list[Design]]] = [
    ("mug", _mug, False, [
        Design("sunrise", "#f6ead6", "#f0953f", "#c8452f", "halves", "sun"),
        Design("harbour", "#f3f1ea", "#3f6fa8", "#1f3d6b", "bands", "fish"),
        Design("clover", "#e9f0df", "#7fae6a", "#2f6b3c", "dots", "leaf"),
        Design("orchard", "#f6ead6", "#e0a23f", "#b5392f", "rings", "heart"),
    ]),
    ("bottle", _bottle, False, [
        Design("glacier", "#eef5f8", "#7fb7cf", "#215c80", "rings", "drop", "PURE"),
        Design("meadow", "#f2f3dc", "#6f9d5a", "#2d5a2b", "waves", "leaf", "HERB"),
        Design("lagoon", "#e6f4f1", "#5fb0a8", "#17615f", "waves", "fish", "TIDE"),
        Design("amber", "#f8ecd2", "#a8652a", "#6b3513", "rings", "sun", "MALT"),
    ]),
    ("box", _box, True, [
        Design("honey", "#fbe3a1", "#f2b632", "#7d3f11", "dots", "sun", "OATS"),
        Design("berry", "#f5dbe6", "#d2698f", "#7c1f4c", "dots", "heart", "PUFFS"),
        Design("summit", "#dfe9f3", "#7da3c9", "#234a77", "zigzag", "hill", "FLAKES"),
        Design("maple", "#fae0c0", "#e08a3c", "#8a2f17", "zigzag", "leaf", "CRISP"),
    ]),
    ("shoe", _shoe, True, [
        Design("sprint", "#e8524a", "#f2857a", "#7a1717", "stripes", "star"),
        Design("trail", "#8b9a63", "#6d7b49", "#3c4526", "zigzag", "hill"),
        Design("coast", "#6fa8d6", "#8fc0e6", "#1f4a78", "waves", "fish"),
        Design("ember", "#e2673c", "#f09a5c", "#6e2415", "zigzag", "sun"),
    ]),
    ("lamp", _lamp, False, [
        Design("linen", "#f1e4c8", "#e3d0a6", "#7a5a38", "stripes", "sun"),
        Design("coral", "#f4b9a3", "#e58c74", "#8c4a3a", "zigzag", "sun"),
        Design("dune", "#f1dfbc", "#d6b27a", "#4a3a2c", "waves", "sun"),
        Design("dusk", "#b6b4d6", "#8d89ba", "#3b3868", "dots", "moon"),
    ]),
    ("plant", _plant, False, [
        Design("terracotta", "#c9744c", "#b1603a", "#d64b6b", "rings", "leaf"),
        Design("daisy", "#cf7f57", "#e0a583", "#fbfbf5", "bands", "flower"),
        Design("marble", "#eceae6", "#bdb9b3", "#8a8580", "speckle", "drop"),
        Design("cobalt", "#e9edf3", "#3e63b0", "#1f3d80", "zigzag", "star"),
    ]),
    ("apple", _apple, False, [
        Design("ruby", "#b3202c", "#d8504a", "#5a1016", "streaks", "heart"),
        Design("orchard-green", "#8fb83e", "#b9d46a", "#4f6f1d", "speckle", "leaf"),
        Design("blush", "#e3c85a", "#d3513c", "#6f5a1d", "blush", "leaf"),
        Design("russet", "#b98a45", "#8f6430", "#5a3d1b", "speckle", "leaf"),
    ]),
    ("book", _book, True, [
        Design("voyage", "#1f4e79", "#2d6ba3", "#f1d9a0", "waves", "fish", "VOYAGE"),
        Design("garden", "#2f6b4a", "#3f8a60", "#f3e3b3", "dots", "flower", "GARDEN"),
        Design("stars", "#23264f", "#373b78", "#f0d77a", "dots", "star", "STARS"),
        Design("cooking", "#b6402f", "#cf5f48", "#f8e6c4", "checks", "heart", "COOK"),
    ]),
    ("tin", _tin, False, [
        Design("tomato", "#f7efe3", "#d5372b", "#97180f", "halves", "heart", "TOMATO"),
        Design("olive", "#f3f0dc", "#7c8b3a", "#49551a", "halves", "leaf", "OLIVES"),
        Design("sardine", "#f5e9c9", "#3b77a5", "#17466e", "bands", "fish", "SARDINE"),
        Design("bean", "#f7efe3", "#c65d2c", "#7d2e10", "bands", "drop", "BEANS"),
    ]),
    ("duck", _duck, False, [
        Design("sunny", "#f7cf3a", "#f2b91f", "#c2571a", "plain", "sun"),
        Design("sailor", "#f8d64e", "#3f77b8", "#1e3f74", "plain", "star"),
        Design("minty", "#9fd8c1", "#74bfa3", "#23695a", "dots", "leaf"),
        Design("rosy", "#f4b3c0", "#e88aa0", "#94304f", "dots", "heart"),
    ]),
    ("bag", _bag, True, [
        Design("market", "#efe4cf", "#d9c7a3", "#2f6b3c", "plain", "leaf", "MARKET"),
        Design("seaside", "#f3f1ea", "#6f9fd0", "#1f4a78", "stripes", "fish", "SHORE"),
        Design("picnic", "#f7efe8", "#d95f55", "#8f1f1f", "checks", "heart", "PICNIC"),
        Design("blossom", "#f4e2e6", "#e3a1b5", "#8a2f57", "dots", "flower", "BLOOM"),
    ]),
    ("clock", _clock, True, [
        Design("station", "#f6f4ee", "#d9d5ca", "#22252b", "plain", "star"),
        Design("cottage", "#f3e6c8", "#e2cc9a", "#7a4b23", "rings", "flower"),
        Design("marine", "#e9f1f5", "#a9cbe0", "#1f4c7a", "waves", "fish"),
        Design("festive", "#f7e6e0", "#ecb3a6", "#b5362c", "dots", "heart"),
    ]),
]  # fmt: skip


def _product(family: int, variant: int) -> Product:
    kind, draw, may_lie_flat, designs = _FAMILIES[family]
    design = designs[variant]
    return Product(f"{design.name}-{kind}", lambda s: draw(design, s), may_lie_flat)


CATALOGUE = [_product(family, variant) for variant in range(4) for family in range(len(_FAMILIES))]
